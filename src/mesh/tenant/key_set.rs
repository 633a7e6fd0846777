//! The public keys that verify tokens: a JSON Web Key Set, read strictly.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::BoxFuture;
use jsonwebtoken::crypto::aws_lc;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// How many keys a set may hold, those that are passed over included.
pub const KEYS_MAX: usize = 100;

/// The longest name of a key (`kid`) in bytes.
pub const KEY_ID_BYTES_MAX: usize = 256;

/// The bits of an RSA modulus: fewer are weak, more are refused by the library.
const RSA_MODULUS_BITS: RangeInclusive<usize> = 2048..=8192;

/// The bits of an RSA exponent: with one of 1, every number would be its own signature; more than 33
/// are refused by the library.
const RSA_EXPONENT_BITS: RangeInclusive<usize> = 2..=33;

/// Where the keys come from.
pub trait KeySource: Send + Sync + 'static {
    /// The key of that name, or nothing where none has it; an error where the keys cannot be had.
    fn key<'a>(
        &'a self,
        kid: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<SignatureKey>>, KeysUnavailable>>;

    /// Whether there are keys at hand; reads them if need be, and goes on reading where nobody waits any more.
    fn is_loaded(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { true })
    }
}

/// The keys cannot be had at the moment; the log says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keys that verify tokens cannot be read at the moment")]
pub struct KeysUnavailable;

/// How a token is signed. A key is for one of these and no other, whatever a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 bits or more.
    Rs256,
}

/// A public key and the one algorithm it is for.
#[derive(Debug)]
pub struct SignatureKey {
    algorithm: SignatureAlgorithm,
    key: DecodingKey,
}

/// Public keys by their names.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: HashMap<String, Arc<SignatureKey>>,
}

/// Why a text is no set of keys.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKeySet {
    /// It is not `{"keys": [...]}`.
    #[error("it is no JSON Web Key Set: {0}")]
    Json(#[from] serde_json::Error),
    /// It holds more than [`KEYS_MAX`] keys.
    #[error("it holds {0} keys; {KEYS_MAX} are read at most")]
    TooMany(usize),
    /// Two of its usable keys have one name, so that a token does not say which it means.
    #[error("two of its keys have the kid {0:?}")]
    Duplicate(String),
}

impl SignatureAlgorithm {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::EdDsa, Self::Es256, Self::Rs256];

    /// The name in tokens and keys.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }

    /// The algorithm of that name in a token's or a key's `alg`.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }

    const fn in_library(self) -> Algorithm {
        match self {
            Self::EdDsa => Algorithm::EdDSA,
            Self::Es256 => Algorithm::ES256,
            Self::Rs256 => Algorithm::RS256,
        }
    }
}

impl SignatureKey {
    /// What the key is for.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// Whether `signature` is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        // The provider is named rather than taken from the process's default, which panics when some
        // other crate switches a second one on.
        let verifier =
            (aws_lc::DEFAULT_PROVIDER.verifier_factory)(&self.algorithm.in_library(), &self.key);
        verifier.is_ok_and(|verifier| verifier.verify(message, &signature.to_vec()).is_ok())
    }
}

impl KeySet {
    /// Reads `{"keys": [...]}`. Keys that we cannot use (no `kid`, another type, curve, algorithm or
    /// use, too short, or private) are passed over with a line in the log.
    ///
    /// # Errors
    /// [`InvalidKeySet`]: the whole set is refused, so that the one before it stays in use.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidKeySet> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let document: Document = serde_json::from_slice(text)?;
        if document.keys.len() > KEYS_MAX {
            return Err(InvalidKeySet::TooMany(document.keys.len()));
        }
        let mut keys = HashMap::new();
        for (position, value) in document.keys.into_iter().enumerate() {
            let (kid, key) = match usable(value) {
                Ok(usable) => usable,
                Err(reason) => {
                    tracing::warn!(position, reason, "a key for tokens is passed over");
                    continue;
                }
            };
            if keys.contains_key(&kid) {
                return Err(InvalidKeySet::Duplicate(kid));
            }
            keys.insert(kid, Arc::new(key));
        }
        if keys.is_empty() {
            tracing::warn!("there is no usable key for tokens: every one will be refused");
        }
        Ok(Self { keys })
    }

    /// The key of that name.
    pub fn find(&self, kid: &str) -> Option<Arc<SignatureKey>> {
        self.keys.get(kid).cloned()
    }

    /// How many usable keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no usable key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// The members of a key that say what it is. Those of other kinds of keys are not read.
#[derive(Deserialize)]
struct RawKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    d: Option<serde::de::IgnoredAny>,
}

/// A key with its name, or why it cannot be used.
fn usable(value: Value) -> Result<(String, SignatureKey), &'static str> {
    let raw: RawKey =
        serde_json::from_value(value).map_err(|_| "it has no kty, or a member of a wrong type")?;
    let kid = match raw.kid.as_deref() {
        None | Some("") => return Err("it has no kid"),
        Some(kid) if kid.len() > KEY_ID_BYTES_MAX => return Err("its kid is over 256 bytes"),
        Some(kid) => kid.to_owned(),
    };
    if raw.d.is_some() {
        return Err("it is a private key: replace it, and publish only its public part");
    }
    if raw
        .purpose
        .as_deref()
        .is_some_and(|purpose| purpose != "sig")
    {
        return Err("its use is not sig");
    }
    let verifies = |operations: &Vec<String>| operations.iter().any(|word| word == "verify");
    if !raw.key_ops.as_ref().is_none_or(verifies) {
        return Err("its key_ops do not hold verify");
    }
    let (algorithm, key) = match (raw.kty.as_str(), raw.crv.as_deref()) {
        ("OKP", Some("Ed25519")) => (SignatureAlgorithm::EdDsa, edwards_key(&raw)),
        ("EC", Some("P-256")) => (SignatureAlgorithm::Es256, curve_key(&raw)),
        ("RSA", _) => (SignatureAlgorithm::Rs256, rsa_key(&raw)),
        _ => return Err("its kty and crv are not OKP with Ed25519, EC with P-256 or RSA"),
    };
    if let Some(name) = raw.alg.as_deref()
        && SignatureAlgorithm::of_name(name) != Some(algorithm)
    {
        return Err("its alg is not EdDSA, ES256 or RS256 as its kty asks for");
    }
    let key = key.ok_or("its numbers are malformed, or too short (RSA needs 2048 bits)")?;
    Ok((kid, SignatureKey { algorithm, key }))
}

fn decoded(member: Option<&String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(member?).ok()
}

fn edwards_key(raw: &RawKey) -> Option<DecodingKey> {
    let x = decoded(raw.x.as_ref()).filter(|x| x.len() == 32)?;
    Some(DecodingKey::from_ed_der(&x))
}

fn curve_key(raw: &RawKey) -> Option<DecodingKey> {
    let x = decoded(raw.x.as_ref()).filter(|x| x.len() == 32)?;
    let y = decoded(raw.y.as_ref()).filter(|y| y.len() == 32)?;
    // An uncompressed point, which is what the library takes in place of DER.
    Some(DecodingKey::from_ec_der(
        &[&[0x04], &x[..], &y[..]].concat(),
    ))
}

fn rsa_key(raw: &RawKey) -> Option<DecodingKey> {
    let modulus = without_zeros(decoded(raw.n.as_ref())?);
    let exponent = without_zeros(decoded(raw.e.as_ref())?);
    let fits = RSA_MODULUS_BITS.contains(&bits(&modulus))
        && RSA_EXPONENT_BITS.contains(&bits(&exponent))
        && exponent.last().is_some_and(|last| last % 2 == 1);
    fits.then(|| DecodingKey::from_rsa_raw_components(&modulus, &exponent))
}

/// A big-endian number without the zeros that some publishers put in front.
fn without_zeros(mut number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    number.drain(..zeros);
    number
}

/// The length in bits of a big-endian number that has no zeros in front.
fn bits(number: &[u8]) -> usize {
    let unused = number.first().map_or(0, |first| first.leading_zeros());
    number.len() * 8 - unused as usize
}

#[cfg(test)]
mod tests;
