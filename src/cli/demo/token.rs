//! A key made for the demonstration, and the tokens that it signs.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::people::Person;
use crate::mesh::Timestamp;

/// Who signs the tokens.
pub(super) const ISSUER: &str = "https://demo.example";

/// Whom the tokens are for.
pub(super) const AUDIENCE: &str = "agent-mesh";

/// How long a token is valid.
const LIFETIME: Duration = Duration::from_secs(60);

/// The name of the key. A forger uses it too.
const KEY_ID: &str = "demo";

/// A key that signs tokens. It is never written anywhere.
#[derive(Clone)]
pub(super) struct Signer(Arc<Ed25519KeyPair>);

impl Signer {
    /// A new key.
    pub(super) fn new() -> Result<Self, String> {
        Ed25519KeyPair::generate()
            .map(|pair| Self(Arc::new(pair)))
            .map_err(|error| format!("no key can be made: {error}"))
    }

    /// The public half, as a key set that a server verifies tokens with.
    pub(super) fn key_set(&self) -> String {
        let public = URL_SAFE_NO_PAD.encode(self.0.public_key().as_ref());
        let key = json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": KEY_ID, "x": public});
        json!({ "keys": [key] }).to_string()
    }

    /// A token that says who is calling, from `now` on.
    pub(super) fn token(&self, person: &Person, now: Timestamp) -> String {
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let header = encode(&json!({"alg": "EdDSA", "kid": KEY_ID, "typ": "JWT"}));
        let claims = encode(&json!({
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": person.name,
            "tenant_id": person.tenant,
            "role": person.role,
            "iat": now.as_seconds(),
            "exp": now.plus(LIFETIME).as_seconds(),
        }));
        let message = format!("{header}.{claims}");
        let signature = URL_SAFE_NO_PAD.encode(self.0.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}
