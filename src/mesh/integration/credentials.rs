//! What a connection was given to sign in with: one JSON object of texts, never shown.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer};
use serde_json::Map;
use serde_json::Value;

use super::reference::SecretName;
use crate::mesh::Error;
use crate::mesh::store::secrets::SECRET_BYTES_MAX;

/// The most fields of the credentials of one connection.
pub const CREDENTIAL_FIELDS_MAX: usize = 32;

/// What a connection was given to sign in with, by the names of its fields. It shows names only.
#[derive(Clone, Debug, Default)]
pub struct Credentials(BTreeMap<SecretName, SecretString>);

impl Credentials {
    /// Credentials of `fields`.
    ///
    /// # Errors
    /// `INVALID_PARAMETER` for `credentials`, which names what is wrong and repeats no value.
    pub fn of(fields: impl IntoIterator<Item = (String, SecretString)>) -> Result<Self, Error> {
        let mut all = BTreeMap::new();
        let mut bytes = 0;
        for (name, text) in fields {
            let name: SecretName = name
                .parse()
                .map_err(|_| invalid("a name must be 1 to 64 of A-Z, a-z, 0-9 and . _ -"))?;
            bytes += name.as_str().len() + text.expose_secret().len();
            if all.len() >= CREDENTIAL_FIELDS_MAX {
                return Err(invalid(&format!(
                    "there are more than {CREDENTIAL_FIELDS_MAX} of them"
                )));
            }
            if text.expose_secret().is_empty() {
                return Err(invalid(&format!("`{name}` is empty")));
            }
            all.insert(name, text);
        }
        let credentials = Self(all);
        // What is written as escapes counts as it will be kept.
        if bytes > SECRET_BYTES_MAX || credentials.kept_bytes() > SECRET_BYTES_MAX {
            return Err(invalid(&format!(
                "they have more than {} KiB together",
                SECRET_BYTES_MAX >> 10
            )));
        }
        Ok(credentials)
    }

    /// The field `name`.
    pub fn get(&self, name: &str) -> Option<&SecretString> {
        let (_, text) = self.0.iter().find(|(known, _)| known.as_str() == name)?;
        Some(text)
    }

    /// Every field.
    pub fn fields(&self) -> impl Iterator<Item = (&SecretName, &SecretString)> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As they are kept: the text of a JSON object.
    pub(in crate::mesh) fn to_secret(&self) -> SecretString {
        SecretString::from(self.json())
    }

    /// What was kept.
    pub(in crate::mesh) fn of_secret(text: &SecretString) -> Result<Self, Error> {
        // What the parser says of a text may repeat some of it.
        let members: Map<String, Value> = serde_json::from_str(text.expose_secret())
            .map_err(|_| Error::internal("what is kept as credentials is no JSON object"))?;
        let texts = members.into_iter().map(|(name, value)| match value {
            Value::String(text) => Some((name, SecretString::from(text))),
            _ => None,
        });
        let texts: Option<Vec<_>> = texts.collect();
        let texts =
            texts.ok_or_else(|| Error::internal("what is kept as credentials is no text"))?;
        Self::of(texts)
    }

    fn json(&self) -> String {
        let members = self.0.iter().map(|(name, text)| {
            let name = name.as_str().to_owned();
            (name, Value::from(text.expose_secret()))
        });
        Value::Object(members.collect()).to_string()
    }

    fn kept_bytes(&self) -> usize {
        SecretString::from(self.json()).expose_secret().len()
    }
}

/// From the argument `credentials`.
impl<'de> Deserialize<'de> for Credentials {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A message about a value of another type would repeat it.
        let members = Map::<String, Value>::deserialize(deserializer)
            .map_err(|_| serde::de::Error::custom("must be an object of texts"))?;
        let mut fields = Vec::with_capacity(members.len());
        for (name, value) in members {
            let Value::String(text) = value else {
                return Err(serde::de::Error::custom("must be an object of texts"));
            };
            fields.push((name, SecretString::from(text)));
        }
        Self::of(fields).map_err(|error| serde::de::Error::custom(error.message()))
    }
}

fn invalid(what: &str) -> Error {
    Error::invalid("credentials", format!("credentials: {what}"))
        .fix("pass one object whose members are texts, such as {\"token\": \"...\"}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[test]
    fn what_is_kept_comes_back_and_only_names_are_shown() {
        let given = r#"{"token":"canary-1 \"quoted\" ä\n","client.id":"x"}"#;
        let credentials: Credentials = serde_json::from_str(given).unwrap();
        let shown = format!("{credentials:?}");
        assert!(
            shown.contains("token") && !shown.contains("canary"),
            "{shown}"
        );
        let kept = Credentials::of_secret(&credentials.to_secret()).unwrap();
        let text = kept.get("token").unwrap().expose_secret();
        assert_eq!(text, "canary-1 \"quoted\" ä\n");
        assert_eq!(kept.fields().count(), 2);
        assert!(kept.get("Token").is_none() && !kept.is_empty());
    }

    #[test]
    fn what_is_wrong_is_told_without_its_value() {
        let many: Vec<String> = (0..=CREDENTIAL_FIELDS_MAX)
            .map(|number| format!("\"f{number}\":\"canary\""))
            .collect();
        let many = format!("{{{}}}", many.join(","));
        for wrong in [
            r#"{"token":12345678}"#,
            r#"{"token":["canary"]}"#,
            r#"{"canary key":"x"}"#,
            r#"{"token":""}"#,
            r#"["canary"]"#,
            r#""canary""#,
            &many,
        ] {
            let error = serde_json::from_str::<Credentials>(wrong)
                .unwrap_err()
                .to_string();
            assert!(
                !error.contains("canary") && !error.contains("1234"),
                "{error}"
            );
        }
        for kept in ["canary", "[\"canary\"]", "{\"a\":1}"] {
            let error = Credentials::of_secret(&secret(kept)).unwrap_err();
            assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        }
    }

    #[test]
    fn they_have_a_size_at_most() {
        let overhead = "{\"a\":\"\"}".len();
        let fits = "x".repeat(SECRET_BYTES_MAX - overhead);
        Credentials::of([("a".to_owned(), secret(&fits))]).unwrap();
        let over = secret(&format!("{fits}x"));
        Credentials::of([("a".to_owned(), over)]).unwrap_err();
        let escaped = "\u{1}".repeat(SECRET_BYTES_MAX / 4);
        Credentials::of([("a".to_owned(), secret(&escaped))]).unwrap_err();
    }
}
