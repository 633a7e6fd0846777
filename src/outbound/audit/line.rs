//! One line of the audit log: its place in the chain, what it says, and what it is sealed with.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use ulid::Ulid;

use crate::mesh::store::idempotency::hex;

/// The longest line, in bytes.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// The fewest bytes of a key.
pub const KEY_BYTES_MIN: usize = 32;

/// The most bytes of a key.
pub const KEY_BYTES_MAX: usize = 4096;

/// How long a hash is in hexadecimal digits.
const HASH_DIGITS: usize = 64;

/// What lines are sealed with: a plain hash, which whoever may write the file can make anew, or one that
/// needs a key.
#[derive(Clone)]
pub enum Seal {
    /// SHA-256, under the name `hash`.
    Plain,
    /// HMAC-SHA-256, under the name `mac`.
    Keyed(Arc<hmac::Key>),
}

/// A key that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key must be {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes")]
pub struct InvalidKey;

impl Seal {
    /// HMAC with `key`, without the line break that ends a file of text.
    ///
    /// # Errors
    /// [`InvalidKey`].
    pub fn keyed(key: &[u8]) -> Result<Self, InvalidKey> {
        let key = key.strip_suffix(b"\n").unwrap_or(key);
        let key = key.strip_suffix(b"\r").unwrap_or(key);
        if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()) {
            return Err(InvalidKey);
        }
        Ok(Self::Keyed(Arc::new(hmac::Key::new(
            hmac::HMAC_SHA256,
            key,
        ))))
    }

    /// The name of the member that holds it.
    pub const fn member(&self) -> &'static str {
        match self {
            Self::Plain => "hash",
            Self::Keyed(_) => "mac",
        }
    }

    /// Whether it needs a key.
    pub const fn is_keyed(&self) -> bool {
        matches!(self, Self::Keyed(_))
    }

    fn of(&self, text: &str) -> String {
        match self {
            Self::Plain => hex(&Sha256::digest(text)),
            Self::Keyed(key) => hex(hmac::sign(key, text.as_bytes()).as_ref()),
        }
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Plain => "Plain",
            Self::Keyed(_) => "Keyed(..)",
        })
    }
}

/// What stands in `prev` of the first line of a chain.
pub fn no_line() -> String {
    "0".repeat(HASH_DIGITS)
}

/// The line `seq` of `chain` behind the one whose seal is `prev`: `members` is the text of a JSON object
/// with at least one member. With its line break, and its seal beside it.
pub fn sealed(seal: &Seal, chain: Ulid, seq: u64, prev: &str, members: &str) -> (String, String) {
    let members = members.strip_prefix('{').unwrap_or(members);
    let members = members.strip_suffix('}').unwrap_or(members);
    let mut line = format!("{{\"chain\":\"{chain}\",\"seq\":{seq},\"prev\":\"{prev}\",{members}");
    let digits = seal.of(&line);
    line.push_str(",\"");
    line.push_str(seal.member());
    line.push_str("\":\"");
    line.push_str(&digits);
    line.push_str("\"}\n");
    (line, digits)
}

/// The place of a line, as it says itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Place {
    /// The chain.
    pub chain: Ulid,
    /// Its number there, from 1 on.
    pub seq: u64,
    /// The seal of the line before it.
    pub prev: String,
    /// What kind of line it is.
    pub kind: String,
}

/// A line taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<'line> {
    /// Its place.
    pub place: Place,
    /// What its seal is made over.
    sealed: &'line str,
    /// Whether the seal is one that needs a key.
    pub is_keyed: bool,
    /// The seal.
    pub digits: &'line str,
}

impl<'line> Parsed<'line> {
    /// The parts of `line`, without its line break; nothing where it is no line of an audit log.
    pub fn of(line: &'line str) -> Option<Self> {
        let rest = line.strip_suffix("\"}")?;
        let at = rest.len().checked_sub(HASH_DIGITS)?;
        let (head, digits) = (rest.get(..at)?, rest.get(at..)?);
        let is_digits = digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        let plain = head.strip_suffix(",\"hash\":\"");
        let keyed = head.strip_suffix(",\"mac\":\"");
        let sealed = plain.or(keyed).filter(|_| is_digits)?;
        Some(Self {
            place: serde_json::from_str(line).ok()?,
            sealed,
            is_keyed: plain.is_none(),
            digits,
        })
    }

    /// Whether `seal` is what it was sealed with.
    pub fn fits(&self, seal: &Seal) -> bool {
        self.is_keyed == seal.is_keyed() && seal.of(self.sealed) == self.digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(seal: &Seal) -> String {
        let (line, digits) = sealed(seal, Ulid(7), 3, &no_line(), r#"{"kind":"call","a":"}"}"#);
        assert!(line.ends_with(&format!("{digits}\"}}\n")));
        line.trim_end().to_owned()
    }

    #[test]
    fn a_line_is_read_back_and_no_byte_of_it_can_be_another() {
        for seal in [Seal::Plain, Seal::keyed(&[7; 32]).unwrap()] {
            let line = one(&seal);
            let parsed = Parsed::of(&line).unwrap();
            assert_eq!((parsed.place.chain, parsed.place.seq), (Ulid(7), 3));
            assert_eq!(parsed.place.kind, "call");
            assert!(parsed.fits(&seal));
            for at in 0..line.len() {
                let mut bytes = line.clone().into_bytes();
                bytes[at] ^= 1;
                let altered = String::from_utf8(bytes).unwrap();
                assert!(
                    !Parsed::of(&altered).is_some_and(|parsed| parsed.fits(&seal)),
                    "{altered}"
                );
            }
        }
    }

    #[test]
    fn a_seal_without_the_key_is_not_one_with_it() {
        let (one_key, other_key) = (
            Seal::keyed(&[1; 32]).unwrap(),
            Seal::keyed(&[2; 32]).unwrap(),
        );
        let (plain, keyed) = (one(&Seal::Plain), one(&one_key));
        assert!(!Parsed::of(&plain).unwrap().fits(&one_key));
        assert!(!Parsed::of(&keyed).unwrap().fits(&Seal::Plain));
        assert!(!Parsed::of(&keyed).unwrap().fits(&other_key));
    }

    #[test]
    fn a_key_has_enough_bytes_and_not_too_many() {
        for (bytes, is_key) in [(31, false), (32, true), (4096, true), (4097, false)] {
            assert_eq!(Seal::keyed(&vec![b'k'; bytes]).is_ok(), is_key, "{bytes}");
        }
        let text = [b"k".repeat(32), b"\r\n".to_vec()].concat();
        assert!(
            Parsed::of(&one(&Seal::keyed(&text).unwrap()))
                .unwrap()
                .fits(&Seal::keyed(&text[..32]).unwrap())
        );
    }

    #[test]
    fn what_is_no_line_is_none() {
        for text in [
            "",
            "{}",
            "\"}",
            "{\"seq\":1}",
            &format!("{{\"hash\":\"{}\"}}", "é".repeat(32)),
        ] {
            assert_eq!(Parsed::of(text), None, "{text}");
        }
    }
}
