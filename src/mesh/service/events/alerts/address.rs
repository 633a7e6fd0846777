//! Addresses that alerts are mailed to: plain ones, that mean the same to everything that reads them.

use crate::mesh::Error;

/// The longest address: bytes.
const ADDRESS_BYTES_MAX: usize = 254;

/// The longest part before the `@`: bytes.
const LOCAL_BYTES_MAX: usize = 64;

/// The longest label of a domain: bytes.
const LABEL_BYTES_MAX: usize = 63;

/// A mail address whose domain is in lower case. It is narrower than what RFC 5321 allows: no quotes, no
/// comments, no address literals and nothing but ASCII, so that neither a header nor a look-alike domain
/// can hide in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailAddress {
    text: String,
    at: usize,
}

impl MailAddress {
    /// Parses the argument `parameter`.
    ///
    /// # Errors
    /// `INVALID_PARAMETER` that names it and does not repeat the address.
    pub fn parse(parameter: &str, text: &str) -> Result<Self, Error> {
        let refuse = |what: &str| {
            Error::invalid(parameter, format!("`{parameter}` {what}"))
                .fix("Give one plain address, such as ops@example.com.")
        };
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(refuse(&format!(
                "has {} bytes; an address may have {ADDRESS_BYTES_MAX}",
                text.len()
            )));
        }
        if !text.is_ascii() {
            return Err(refuse("holds characters other than ASCII"));
        }
        let Some((local, domain)) = text.rsplit_once('@') else {
            return Err(refuse("has no `@`"));
        };
        if !is_local(local) {
            return Err(refuse(
                "has before the `@` something else than 1 to 64 letters, digits and single dots, \
                 or one of !#$%&'*+/=?^_`{|}~-",
            ));
        }
        let domain = domain.to_ascii_lowercase();
        if !is_domain(&domain) {
            return Err(refuse("has after the `@` something else than a domain"));
        }
        Ok(Self {
            text: format!("{local}@{domain}"),
            at: local.len(),
        })
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What stands after the `@`.
    pub fn domain(&self) -> &str {
        &self.text[self.at + 1..]
    }
}

fn is_local(text: &str) -> bool {
    let atom = |atom: &str| {
        !atom.is_empty()
            && atom
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-".contains(&byte))
    };
    text.len() <= LOCAL_BYTES_MAX && text.split('.').all(atom)
}

/// A name with a dot in it whose last label is no number, in lower case.
fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // Punycode is how a look-alike of an ASCII domain is written in ASCII.
    let is_disguised = text.split('.').any(|label| label.starts_with("xn--"));
    let top = text.rsplit('.').next().unwrap_or_default();
    text.contains('.')
        && text.split('.').all(label)
        && !is_disguised
        && top.bytes().any(|byte| byte.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_addresses_are_taken_and_their_domain_is_in_lower_case() {
        for text in [
            "a@b.co",
            "first.last+tag@Mail.Example.COM",
            "o'neil_1@x-y.example",
            &format!("{}@example.com", "a".repeat(64)),
        ] {
            let address = MailAddress::parse("email", text).unwrap();
            let domain = text.rsplit('@').next().unwrap().to_lowercase();
            assert_eq!(address.domain(), domain);
            assert!(address.as_str().ends_with(&domain), "{text}");
        }
    }

    #[test]
    fn whatever_else_can_be_read_in_two_ways_is_refused() {
        let long = format!("a@{}.com", "b.".repeat(130));
        for text in [
            "",
            "a",
            "@b.co",
            "a@",
            "a@b",
            "a@b@c.co",
            "a b@c.co",
            " a@b.co",
            "a@b.co ",
            "a@b.co\n",
            "a@b.co\r\nBcc: eve@evil.example",
            "a@b.co,eve@evil.example",
            "a@b.co;eve@evil.example",
            "\"a\"@b.co",
            "a(comment)@b.co",
            "<a@b.co>",
            "A <a@b.co>",
            ".a@b.co",
            "a.@b.co",
            "a..b@c.co",
            "a@-b.co",
            "a@b-.co",
            "a@.b.co",
            "a@b..co",
            "a@b.co.",
            "a@[127.0.0.1]",
            "a@127.0.0.1",
            "a@xn--exmple-cua.com",
            "a@exаmple.com",
            "ä@b.co",
            "a\u{0}@b.co",
            &format!("{}@example.com", "a".repeat(65)),
            &long,
        ] {
            let error = MailAddress::parse("email", text).unwrap_err();
            assert_eq!(error.details()["parameter"], "email", "{text:?}");
        }
    }
}
