//! An issuer of tokens: a key made on the spot, and what it signs.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use agent_mesh::mesh::Timestamp;

/// The issuer's name in tokens and in `tenants.toml`.
pub(crate) const ISSUER: &str = "https://id.example";

/// The server's name in tokens.
pub(crate) const AUDIENCE: &str = "agent-mesh-test";

/// How long a token lives, in seconds; the most that is accepted.
pub(crate) const LIFETIME_S: i64 = 300;

/// A key and the name it is published under.
pub(crate) struct Issuer {
    pair: Ed25519KeyPair,
    kid: &'static str,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        Self {
            pair: Ed25519KeyPair::generate().expect("a key"),
            kid: "test-key",
        }
    }

    /// The key set as it is published.
    pub(crate) fn key_set(&self) -> String {
        let point = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        let key = json!({
            "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.kid, "x": point,
        });
        json!({ "keys": [key] }).to_string()
    }

    /// A token with these claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = json!({ "alg": "EdDSA", "kid": self.kid, "typ": "JWT" });
        let [header, claims] =
            [&header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = format!("{header}.{claims}");
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

/// The claims of an ordinary token that begins at `now`.
pub(crate) fn claims(tenant: &str, user: &str, role: &str, now: Timestamp) -> Value {
    let issued = now.as_seconds();
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": user, "tenant_id": tenant, "role": role,
        "iat": issued, "exp": issued + LIFETIME_S,
    })
}
