//! Tokens as an identity provider signs them, with a key made on the spot.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Who signs the tokens.
pub(crate) const ISSUER: &str = "https://id.example";

/// Whom they are meant for.
pub(crate) const AUDIENCE: &str = "agent-mesh";

/// How long they are valid: seconds.
const LIFETIME: u64 = 240;

/// An identity provider.
pub(crate) struct Provider(Ed25519KeyPair);

impl Provider {
    /// One with a key of its own.
    pub(crate) fn new() -> Self {
        Self(Ed25519KeyPair::generate().unwrap())
    }

    /// The keys that it publishes.
    pub(crate) fn key_set(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.0.public_key().as_ref());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "k1", "x": x}]})
    }

    /// A token that says who `user` is, issued `age` seconds ago.
    pub(crate) fn token(&self, tenant: &str, user: &str, role: &str, age: u64) -> String {
        let issued = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs()
            - age;
        let claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": user, "tenant_id": tenant, "role": role,
            "iat": issued, "exp": issued + LIFETIME});
        let header = json!({"alg": "EdDSA", "kid": "k1", "typ": "JWT"});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.0.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}
