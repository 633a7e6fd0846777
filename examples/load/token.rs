//! Tenants whose callers come by token: their file, the key that signs for them, the tokens.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::Result;
use crate::server::{Setup, raised_limits};

const ISSUER: &str = "https://id.load.example";
const AUDIENCE: &str = "load";
const KEY_ID: &str = "load";

/// How long a token lasts, in seconds: the most that the server takes.
const LIFETIME_SECONDS: u64 = 300;

/// The issuer of tokens.
pub(crate) struct Issuer {
    pair: Ed25519KeyPair,
    header: String,
}

impl Issuer {
    /// An issuer with a new key.
    pub(crate) fn new() -> Result<Self> {
        let header = json!({"alg": "EdDSA", "kid": KEY_ID, "typ": "JWT"});
        Ok(Self {
            pair: Ed25519KeyPair::generate()?,
            header: URL_SAFE_NO_PAD.encode(header.to_string()),
        })
    }

    /// A server on the embedded cloud that knows `tenants` tenants, each by tokens of this issuer.
    pub(crate) fn setup(&self, tenants: usize) -> Result<Setup> {
        let setup = Setup::embedded()?;
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        let key = json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": KEY_ID, "alg": "EdDSA", "use": "sig"});
        std::fs::write(setup.path("keys.json"), json!({"keys": [key]}).to_string())?;
        let mut file = raised_limits();
        for number in 0..tenants {
            write!(
                file,
                "[tenants.{}]\nissuers = [\"{ISSUER}\"]\n",
                name(number)
            )?;
        }
        std::fs::write(setup.path("tenants.toml"), file)?;
        Ok(setup
            .with("AGENT_MESH_JWKS", "keys.json")
            .with_value("AGENT_MESH_IDENTITY", "jwt")
            .with_value("AGENT_MESH_JWT_ISSUER", ISSUER)
            .with_value("AGENT_MESH_JWT_AUDIENCE", AUDIENCE))
    }

    /// A token for a user of the tenant with that number.
    pub(crate) fn token(&self, tenant: usize) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + LIFETIME_SECONDS,
            "sub": "ada", "tenant_id": name(tenant), "role": "user",
        });
        let message = format!(
            "{}.{}",
            self.header,
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

fn name(tenant: usize) -> String {
    format!("tenant-{tenant:05}")
}
