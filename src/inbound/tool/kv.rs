//! The key-value tools: what a client sees of them, and their arguments.

use serde_json::json;

use super::argument::Arguments;
use super::description::{
    Description, cursor, flag, number, optional, required, result, scope, text,
};
use super::{CallFault, opened};
use crate::mesh::Error;
use crate::mesh::call::tool::Tool;
use crate::mesh::service::kv::{KvDelete, KvGet, KvList, KvSet, LIST_LIMIT_MAX, TTL_HOURS_MAX};
use crate::mesh::store::key::Scope;
use crate::mesh::store::values::{KEY_BYTES_MAX, ValueCondition, ValueKey};

/// How long a value is kept where the caller does not say: hours.
const TTL_HOURS: f64 = 24.0;

/// How many keys a page has where the caller does not say.
const LIST_LIMIT: u32 = 100;

/// `kv_get`.
pub fn describe_get() -> Description {
    Description {
        tool: Tool::KvGet,
        title: "Get a value",
        text: "Read the JSON value stored under a key. Use it to recall what kv_set stored. A key that \
               is absent or has expired answers `found: false`, which is no error. A value over 56 kB comes \
               as a link to a resource, with `truncated: true`. To find keys use kv_list; for files use artifacts_get.",
        arguments: vec![
            required("key", text(), "The key: 1 to 512 bytes."),
            scope(),
            optional(
                "consistent",
                flag(),
                "See every write that was answered before, at twice the cost.",
            ),
        ],
        one_of: Vec::new(),
        results: vec![
            result("key", text()),
            result("found", flag()),
            result("value", json!({})),
            result("version", text()),
            result("created_at", text()),
            result("expires_at", text()),
            result("size", json!({"type": "integer"})),
            result("uri", text()),
            result("truncated", flag()),
        ],
        destructive: false,
        idempotent: true,
    }
}

/// `kv_set`.
pub fn describe_set() -> Description {
    Description {
        tool: Tool::KvSet,
        title: "Set a value",
        text: "Store a JSON value (up to 350 KiB) under a key, in place of what was there. Use it for \
               state, notes and results that later calls or other agents need. It is kept for 24 hours \
               unless `ttl_hours` says otherwise. To avoid overwriting somebody else's change give \
               `if_absent` or `if_version`; where that does not hold it is a CONFLICT. For larger things \
               use artifacts_put. Returns the new version.",
        arguments: vec![
            required(
                "key",
                text(),
                "The key: 1 to 512 bytes without control characters.",
            ),
            required("value", json!({}), "Any JSON value."),
            optional(
                "ttl_hours",
                json!({"type": "number", "minimum": 0, "maximum": TTL_HOURS_MAX, "default": TTL_HOURS}),
                "Hours to keep it, fractions too; 0 keeps it for ever.",
            ),
            scope(),
            optional("if_absent", flag(), "Store it only if nothing is there."),
            optional(
                "if_version",
                text(),
                "Store it only if this version is there.",
            ),
        ],
        one_of: Vec::new(),
        results: vec![
            result("key", text()),
            result("version", text()),
            result("size", json!({"type": "integer"})),
            result("expires_at", text()),
        ],
        destructive: true,
        idempotent: true,
    }
}

/// `kv_delete`.
pub fn describe_delete() -> Description {
    Description {
        tool: Tool::KvDelete,
        title: "Delete a value",
        text: "Delete the value under a key. Deleting what is not there is no error and answers \
               `existed: false`. With `if_version` it is deleted only in that version, else it is a \
               CONFLICT. It cannot be undone.",
        arguments: vec![
            required("key", text(), "The key."),
            scope(),
            optional(
                "if_version",
                text(),
                "Delete it only if this version is there.",
            ),
        ],
        one_of: Vec::new(),
        results: vec![result("key", text()), result("existed", flag())],
        destructive: true,
        idempotent: true,
    }
}

/// `kv_list`.
pub fn describe_list() -> Description {
    Description {
        tool: Tool::KvList,
        title: "List keys",
        text: "List the keys that begin with a prefix, in order, without their values. Use it to find \
               out what is stored; read values with kv_get. Returns a page, and `next_cursor` if there \
               are more; a page may be short.",
        arguments: vec![
            optional(
                "prefix",
                text(),
                "What the keys begin with; all keys if left out.",
            ),
            scope(),
            optional(
                "limit",
                number(1, LIST_LIMIT_MAX, LIST_LIMIT),
                "How many at most.",
            ),
            cursor(),
        ],
        one_of: Vec::new(),
        results: vec![
            result(
                "items",
                json!({"type": "array", "items": {"type": "object"}}),
            ),
            result("next_cursor", text()),
        ],
        destructive: false,
        idempotent: true,
    }
}

/// The arguments of `kv_get`.
pub fn get(text: Option<&str>) -> Result<KvGet, Error> {
    let mut arguments = Arguments::of(text)?;
    let call = KvGet {
        key: ValueKey::parse("key", arguments.required("key")?)?,
        scope: arguments.or("scope", Scope::User)?,
        consistent: arguments.or("consistent", false)?,
    };
    arguments.finish()?;
    Ok(call)
}

/// The arguments of `kv_set`.
pub fn set(text: Option<&str>) -> Result<KvSet, Error> {
    let mut arguments = Arguments::of(text)?;
    let call = KvSet {
        key: ValueKey::parse("key", arguments.required("key")?)?,
        value: arguments.json("value")?.to_owned(),
        time_to_live: KvSet::time_to_live(arguments.or("ttl_hours", TTL_HOURS)?)?,
        scope: arguments.or("scope", Scope::User)?,
        condition: condition(&mut arguments)?,
    };
    arguments.finish()?;
    KvSet::check_size(&call.value)?;
    Ok(call)
}

/// The arguments of `kv_delete`.
pub fn delete(text: Option<&str>) -> Result<KvDelete, Error> {
    let mut arguments = Arguments::of(text)?;
    let call = KvDelete {
        key: ValueKey::parse("key", arguments.required("key")?)?,
        scope: arguments.or("scope", Scope::User)?,
        condition: match arguments.optional("if_version")? {
            Some(version) => version_condition(&arguments, version)?,
            None => ValueCondition::Always,
        },
    };
    arguments.finish()?;
    Ok(call)
}

/// The arguments of `kv_list`.
///
/// # Errors
///
/// A cursor that does not fit is a fault of the protocol, anything else the tool's.
pub fn list(text: Option<&str>) -> Result<Result<KvList, Error>, CallFault> {
    let parse = || {
        let mut arguments = Arguments::of(text)?;
        let call = KvList {
            prefix: super::prefix(&mut arguments, KEY_BYTES_MAX)?,
            scope: arguments.or("scope", Scope::User)?,
            limit: arguments.number("limit", LIST_LIMIT, 1, LIST_LIMIT_MAX)?,
            after: arguments.optional("cursor")?,
        };
        arguments.finish()?;
        Ok(call)
    };
    opened(parse(), |call: &mut KvList| {
        (
            &mut call.after,
            KvList::filters(&call.prefix, call.scope).to_vec(),
        )
    })
}

fn condition(arguments: &mut Arguments<'_>) -> Result<ValueCondition, Error> {
    let absent = arguments.or("if_absent", false)?;
    match (absent, arguments.optional("if_version")?) {
        (false, None) => Ok(ValueCondition::Always),
        (true, None) => Ok(ValueCondition::Absent),
        (false, Some(version)) => version_condition(arguments, version),
        (true, Some(_)) => Err(arguments
            .wrong(
                "if_version",
                "cannot hold together with `if_absent`".to_owned(),
            )
            .fix("Give one of them.")),
    }
}

/// The longest version that is looked at: bytes. Ours have 26.
const VERSION_BYTES_MAX: usize = 128;

fn version_condition(arguments: &Arguments<'_>, version: String) -> Result<ValueCondition, Error> {
    match version.len() {
        1..=VERSION_BYTES_MAX => Ok(ValueCondition::Version(version)),
        _ => Err(arguments
            .wrong("if_version", "is no version".to_owned())
            .fix("Give the `version` that kv_get or kv_list tells.")),
    }
}
