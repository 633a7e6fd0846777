//! Where a token says whose it is: the names of its claims, and the object that they are found in.

use std::fmt;
use std::str::FromStr;

use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// The longest name of a claim, in bytes.
pub const CLAIM_NAME_BYTES_MAX: usize = 256;

/// How deep a name may lead into objects.
pub const CLAIM_DEPTH_MAX: usize = 8;

/// The name of a claim. Dots lead into objects (`realm_access.roles`), but a name with `/` or `:` in it is
/// taken whole, as namespaced ones are (`https://example.com/tenant`, `custom:tenant`): one name never has
/// two meanings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimName {
    text: String,
    steps: Vec<String>,
}

/// Why a text names no claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a claim's name is 1 to {CLAIM_NAME_BYTES_MAX} bytes without control characters or spaces; dots lead at \
     most {CLAIM_DEPTH_MAX} deep into objects, and with / or : in it the name is taken whole"
)]
pub struct InvalidClaimName;

/// Under which names a token says whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimNames {
    /// The tenant; `tenant_id`.
    pub tenant: ClaimName,
    /// The user; `sub`.
    pub user: ClaimName,
    /// The role, or a list of which the greatest role counts; `role`.
    pub role: ClaimName,
    /// The scopes that narrow the role; `scope`. Nothing where the role alone decides.
    pub scope: Option<ClaimName>,
}

/// The claims of a token: a JSON object in which nothing is there twice, however deep, since two readers
/// could take it for two different tokens.
#[derive(Debug)]
pub(super) struct ClaimObject(Map<String, Value>);

impl ClaimName {
    /// The name as it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn plain(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            steps: vec![text.to_owned()],
        }
    }

    /// What a refusal calls the claim: by its `usual` name, unless the operator has chosen another one,
    /// which would say how the server is set up.
    pub(super) fn told(&self, usual: &'static str, otherwise: &'static str) -> &'static str {
        if self.text == usual { usual } else { otherwise }
    }
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self {
            tenant: ClaimName::plain("tenant_id"),
            user: ClaimName::plain("sub"),
            role: ClaimName::plain("role"),
            scope: Some(ClaimName::plain("scope")),
        }
    }
}

impl FromStr for ClaimName {
    type Err = InvalidClaimName;

    fn from_str(text: &str) -> Result<Self, InvalidClaimName> {
        let fits = (1..=CLAIM_NAME_BYTES_MAX).contains(&text.len())
            && !text.contains(|letter: char| letter.is_control() || letter.is_whitespace());
        let steps: Vec<String> = match text.contains(['/', ':']) {
            true => vec![text.to_owned()],
            false => text.split('.').map(str::to_owned).collect(),
        };
        if fits && steps.len() <= CLAIM_DEPTH_MAX && steps.iter().all(|step| !step.is_empty()) {
            let text = text.to_owned();
            Ok(Self { text, steps })
        } else {
            Err(InvalidClaimName)
        }
    }
}

impl ClaimObject {
    /// The registered claim of that name.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The claim that `name` leads to.
    pub(super) fn find(&self, name: &ClaimName) -> Option<&Value> {
        let (first, rest) = name.steps.split_first()?;
        rest.iter()
            .try_fold(self.0.get(first)?, |value, step| value.get(step))
    }
}

impl<'de> Deserialize<'de> for ClaimObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Once::deserialize(deserializer)?.0 {
            Value::Object(members) => Ok(Self(members)),
            _ => Err(D::Error::custom("no object")),
        }
    }
}

/// A value in which no object has a member twice.
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OnceVisitor).map(Self)
    }
}

struct OnceVisitor;

impl<'de> Visitor<'de> for OnceVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Once(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Once(value))) = members.next_entry::<String, Once>()? {
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a member is there twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name(text: &str) -> ClaimName {
        text.parse().unwrap()
    }

    fn found(claims: &str, text: &str) -> Option<Value> {
        let claims: ClaimObject = serde_json::from_str(claims).unwrap();
        claims.find(&name(text)).cloned()
    }

    #[test]
    fn dots_lead_into_objects_and_namespaced_names_are_whole() {
        let claims = json!({
            "realm": {"tenant": "deep", "tenant.id": "never"},
            "realm.tenant": "flat",
            "https://example.com/tenant": "url",
            "https://example": {"com/tenant": "never"},
            "custom:tenant": "pool",
            "list": [{"a": 1}],
        })
        .to_string();
        for (name, value) in [
            ("realm.tenant", json!("deep")),
            ("https://example.com/tenant", json!("url")),
            ("custom:tenant", json!("pool")),
            ("list", json!([{"a": 1}])),
        ] {
            assert_eq!(found(&claims, name), Some(value), "{name}");
        }
        for absent in ["realm.other", "realm.tenant.id", "list.a", "list.0", "none"] {
            assert_eq!(found(&claims, absent), None, "{absent}");
        }
    }

    #[test]
    fn a_name_is_parsed_at_its_edges() {
        let (long, deep) = (
            "a".repeat(CLAIM_NAME_BYTES_MAX),
            ["a"; CLAIM_DEPTH_MAX].join("."),
        );
        for good in ["sub", "a.b", "https://x.example/a.b", &long, &deep] {
            assert_eq!(name(good).as_str(), good);
        }
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a b",
            "a\n",
            &(long + "a"),
            &(deep + ".a"),
        ] {
            assert_eq!(bad.parse::<ClaimName>(), Err(InvalidClaimName), "{bad}");
        }
    }

    #[test]
    fn nothing_may_be_there_twice_however_deep() {
        for twice in [
            r#"{"a": 1, "a": 2}"#,
            r#"{"a": {"b": 1, "b": 1}}"#,
            r#"{"a": [{"b": 1, "b": 1}]}"#,
            r#"{"a": 1, "\u0061": 2}"#,
        ] {
            assert!(
                serde_json::from_str::<ClaimObject>(twice).is_err(),
                "{twice}"
            );
        }
        for none in ["[]", "1", "\"a\"", "null"] {
            assert!(serde_json::from_str::<ClaimObject>(none).is_err(), "{none}");
        }
    }
}
