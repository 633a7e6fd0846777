//! What comes back: results, tools' errors and errors of the protocol, each held to the contract when read.

use std::collections::BTreeMap;

use agent_mesh::mesh::ErrorKind;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use ulid::Ulid;

use super::schema::breaches;

/// What no answer may hold, whoever asks: names of the machine and of AWS.
const NEVER_TOLD: [&str; 6] = [
    "arn:aws",
    "000000000000",
    "/tmp/",
    "embedded.invalid",
    "T#",
    "agent-mesh-kv",
];

/// The longest text of a result, in bytes.
const TEXT_BYTES_MAX: usize = 60_000;

/// An error of the protocol.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    pub(crate) code: i64,
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) data: Value,
}

/// What a tool answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The exact text of the result R.
    pub(crate) text: String,
    pub(crate) is_error: bool,
    /// What stands in the content besides the text.
    pub(crate) links: Vec<Value>,
}

/// The error that a tool answered.
#[derive(Clone, Debug)]
pub(crate) struct Failure(Value);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CallResult {
    content: Vec<Value>,
    structured_content: Box<RawValue>,
    is_error: bool,
    result_type: Option<String>,
    /// Where a result of another server comes from.
    #[serde(rename = "_meta")]
    meta: Option<Value>,
}

impl Answer {
    /// Reads the result of a `tools/call` and holds it to the contract and to `schema`.
    pub(crate) fn read(tool: &str, result: &str, schema: Option<&Value>) -> Self {
        let result: CallResult = serde_json::from_str(result)
            .unwrap_or_else(|error| panic!("{tool}: {error}: {result}"));
        assert!(
            result.result_type.is_none_or(|kind| kind == "complete"),
            "{tool}"
        );
        assert!(
            result.meta.is_none() || tool == "mcp_proxy" || tool.contains("__"),
            "{tool}"
        );
        let mut content = result.content.into_iter();
        let first = content.next().expect("a text");
        assert_eq!(first["type"], "text", "{tool}");
        let text = first["text"].as_str().expect("a text").to_owned();
        assert_eq!(
            text,
            result.structured_content.get(),
            "{tool}: both say the same, to the letter"
        );
        assert!(text.starts_with('{'), "{tool}: one object: {text}");
        let answer = Self {
            text,
            is_error: result.is_error,
            links: content.collect(),
        };
        answer.hold(tool, schema);
        answer
    }

    fn hold(&self, tool: &str, schema: Option<&Value>) {
        // A number such as 1e400 is JSON and no value of this library.
        if let (Ok(value), Some(schema)) = (serde_json::from_str(&self.text), schema) {
            let found = breaches(schema, &value);
            assert!(found.is_empty(), "{tool}: {found:?}: {}", self.text);
        }
        if self.is_error {
            let _ = Failure::of(self.value());
        } else {
            assert!(
                self.text.len() <= TEXT_BYTES_MAX,
                "{tool}: {} bytes",
                self.text.len()
            );
        }
    }

    /// The result R.
    pub(crate) fn value(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The exact text of a member of R.
    pub(crate) fn member(&self, name: &str) -> Option<String> {
        let members: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(&self.text).expect("an object");
        members.get(name).map(|member| member.get().to_owned())
    }
}

impl Failure {
    /// Reads `{"error": {...}}` and holds it to the contract.
    pub(crate) fn of(result: Value) -> Self {
        let members = result.as_object().expect("an object");
        // The protocol wants the address of a resource that is not there.
        let others = members.keys().filter(|name| *name != "uri").count();
        assert_eq!(others, 1, "nothing stands beside the error: {result}");
        Self::read(members["error"].clone())
    }

    /// Reads what stands under `error`.
    pub(crate) fn read(error: Value) -> Self {
        let members = error
            .as_object()
            .unwrap_or_else(|| panic!("no object: {error}"));
        let known = [
            "code",
            "message",
            "fix",
            "retryable",
            "retry_after_ms",
            "request_id",
            "details",
        ];
        let unknown: Vec<_> = members
            .keys()
            .filter(|name| !known.contains(&name.as_str()))
            .collect();
        assert!(unknown.is_empty(), "{unknown:?}: {error}");
        let text = error.to_string();
        assert!(
            !text.contains("null"),
            "members without a value are left out: {text}"
        );
        for secret in NEVER_TOLD {
            assert!(!text.contains(secret), "`{secret}` is told: {text}");
        }
        let failure = Self(error);
        let kind = ErrorKind::ALL
            .into_iter()
            .find(|kind| kind.code() == failure.code());
        let kind = kind.unwrap_or_else(|| panic!("no code of the contract: {text}"));
        assert_eq!(failure.0["retryable"], kind.is_retryable(), "{text}");
        assert!(!failure.message().is_empty(), "{text}");
        assert!(failure.request_id().parse::<Ulid>().is_ok(), "{text}");
        if kind == ErrorKind::Internal {
            assert!(
                failure.fix().is_none() && failure.0.get("details").is_none(),
                "{text}"
            );
            assert!(failure.message().contains(failure.request_id()), "{text}");
        }
        failure
    }

    pub(crate) fn code(&self) -> &str {
        self.text("code")
    }

    pub(crate) fn message(&self) -> &str {
        self.text("message")
    }

    pub(crate) fn request_id(&self) -> &str {
        self.text("request_id")
    }

    pub(crate) fn fix(&self) -> Option<&str> {
        self.0.get("fix").and_then(Value::as_str)
    }

    pub(crate) fn retry_after_ms(&self) -> Option<u64> {
        self.0.get("retry_after_ms").and_then(Value::as_u64)
    }

    /// One of the details; null where there is none of that name.
    pub(crate) fn detail(&self, name: &str) -> Value {
        self.0["details"][name].clone()
    }

    /// The argument that an INVALID_PARAMETER names.
    pub(crate) fn parameter(&self) -> String {
        self.detail("parameter")
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    fn text(&self, name: &str) -> &str {
        self.0
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("no `{name}`: {}", self.0))
    }
}
