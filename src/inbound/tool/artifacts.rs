//! The artifact tools: what a client sees of them, and their arguments.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::json;
use serde_json::value::RawValue;

use super::argument::{Argument, Arguments};
use super::description::{
    Description, count, cursor, flag, number, one_of, optional, required, result, scope, text,
    texts_by_name,
};
use super::{CallFault, opened};
use crate::mesh::call::tool::Tool;
use crate::mesh::service::address::parse_range;
use crate::mesh::service::artifacts::{
    ArtifactsDelete, ArtifactsGet, ArtifactsList, ArtifactsPut, As, CONTENT_BYTES_MAX, Content,
    LIST_LIMIT_MAX, UPLOAD_BYTES_MAX,
};
use crate::mesh::store::artifacts::{ArtifactKey, KEY_BYTES_MAX};
use crate::mesh::store::bucket::{ObjectAttributes, ObjectCondition};
use crate::mesh::store::key::Scope;
use crate::mesh::{Error, ErrorKind};

/// How many keys a page has where the caller does not say.
const LIST_LIMIT: u32 = 100;

/// The most metadata of one artifact: bytes of names and values together. S3 keeps 2,048, of which the
/// server needs some for its own.
const METADATA_BYTES_MAX: usize = 2000;

/// The longest media type: bytes.
const CONTENT_TYPE_BYTES_MAX: usize = 255;

/// `artifacts_get`.
pub fn describe_get() -> Description {
    Description {
        tool: Tool::ArtifactsGet,
        title: "Get an artifact",
        text: "Read a file stored with artifacts_put. Text comes inline up to about 50 kB; what is \
               larger or binary comes as a link to a resource that can be read in ranges, with \
               `truncated: true`. A key that is absent answers `found: false`. For small JSON use kv_get.",
        arguments: vec![
            required("key", text(), "The key, such as `reports/june.md`."),
            scope(),
            optional(
                "range",
                text(),
                "Only these bytes, as in HTTP: `0-999`, `1000-` or `-500`.",
            ),
            optional(
                "as",
                one_of(&["auto", "text", "base64", "url"]),
                "How it is wanted; `url` is a presigned address, on AWS only.",
            ),
        ],
        one_of: Vec::new(),
        results: vec![
            result("key", text()),
            result("found", flag()),
            result("content", text()),
            result("content_base64", text()),
            result("content_type", text()),
            result("size", count()),
            result("etag", text()),
            result("last_modified", text()),
            result("metadata", json!({"type": "object"})),
            result("uri", text()),
            result("url", text()),
            result("expires_at", text()),
            result("truncated", flag()),
        ],
        destructive: false,
        idempotent: true,
    }
}

/// `artifacts_put`.
pub fn describe_put() -> Description {
    Description {
        tool: Tool::ArtifactsPut,
        title: "Store an artifact",
        text: "Store a file under a key, in place of what was there. Use it for documents, reports, \
               images and anything over 350 KiB; for small JSON use kv_set. Give `content` (text), \
               `content_base64`, or `upload: \"url\"` with `size` and `sha256` to put the content yourself \
               at a presigned address (on AWS). `if_absent` and `if_etag` guard against overwriting; where \
               they do not hold it is a CONFLICT. Returns etag, sha256 and the resource's `uri`.",
        arguments: vec![
            required(
                "key",
                text(),
                "A relative key of 1 to 800 bytes, such as `reports/june.md`.",
            ),
            optional("content", text(), "The content as text."),
            optional("content_base64", text(), "The content in base64."),
            optional(
                "upload",
                json!({"type": "string", "enum": ["url"]}),
                "Put the content at an address instead; it replaces only what is there now.",
            ),
            optional("size", count(), "With `upload`: its exact bytes."),
            optional("sha256", text(), "With `upload`: its SHA-256 in hex."),
            optional(
                "content_type",
                text(),
                "Its media type; text/plain or application/octet-stream if left out.",
            ),
            optional(
                "metadata",
                texts_by_name(),
                "Labels of your own, 2,000 bytes at most.",
            ),
            scope(),
            optional("if_absent", flag(), "Store it only if nothing is there."),
            optional("if_etag", text(), "Store it only if this etag is there."),
        ],
        one_of: vec![
            &["content"],
            &["content_base64"],
            &["upload", "size", "sha256"],
        ],
        results: vec![
            result("key", text()),
            result("size", count()),
            result("etag", text()),
            result("sha256", text()),
            result("content_type", text()),
            result("uri", text()),
            result("upload", json!({"type": "object"})),
        ],
        destructive: true,
        idempotent: true,
    }
}

/// `artifacts_delete`.
pub fn describe_delete() -> Description {
    Description {
        tool: Tool::ArtifactsDelete,
        title: "Delete an artifact",
        text: "Delete the file under a key. Deleting what is not there is no error and answers \
               `existed: false`. With `if_etag` it is deleted only with that etag, else it is a CONFLICT. \
               It cannot be undone.",
        arguments: vec![
            required("key", text(), "The key."),
            scope(),
            optional("if_etag", text(), "Delete it only if this etag is there."),
        ],
        one_of: Vec::new(),
        results: vec![result("key", text()), result("existed", flag())],
        destructive: true,
        idempotent: true,
    }
}

/// `artifacts_list`.
pub fn describe_list() -> Description {
    Description {
        tool: Tool::ArtifactsList,
        title: "List artifacts",
        text: "List the files whose keys begin with a prefix, in order. With `delimiter: \"/\"` it lists \
               one folder, and the folders below it as `common_prefixes`. Read files with artifacts_get. \
               Returns a page, and `next_cursor` if there are more.",
        arguments: vec![
            optional(
                "prefix",
                text(),
                "What the keys begin with; all files if left out.",
            ),
            scope(),
            optional("delimiter", text(), "Usually `/`."),
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
            result("common_prefixes", json!({"type": "array", "items": text()})),
            result("next_cursor", text()),
        ],
        destructive: false,
        idempotent: true,
    }
}

/// The arguments of `artifacts_get`.
pub fn get(text: Option<&str>) -> Result<ArtifactsGet, Error> {
    let mut arguments = Arguments::of(text)?;
    let range: Option<String> = arguments.optional("range")?;
    let range = range
        .map(|range| {
            parse_range(&range).ok_or_else(|| {
                arguments.wrong("range", "is no range of bytes".to_owned()).fix(
                    "Give `first-last`, `first-` or `-count`; positions count from 0, both ends included.",
                )
            })
        })
        .transpose()?;
    let call = ArtifactsGet {
        key: ArtifactKey::parse("key", arguments.required("key")?)?,
        scope: arguments.or("scope", Scope::User)?,
        range,
        form: arguments.or("as", As::Auto)?,
    };
    arguments.finish()?;
    Ok(call)
}

/// The arguments of `artifacts_put`.
pub fn put(text: Option<&str>) -> Result<ArtifactsPut, Error> {
    let mut arguments = Arguments::of(text)?;
    let key = ArtifactKey::parse("key", arguments.required("key")?)?;
    let (content, default_type) = content(&mut arguments)?;
    let content_type: Option<String> = arguments.optional("content_type")?;
    let metadata: Option<BTreeMap<String, String>> = arguments.optional("metadata")?;
    let attributes = ObjectAttributes {
        content_type: content_type.unwrap_or_else(|| default_type.to_owned()),
        metadata: metadata.unwrap_or_default(),
    };
    check_attributes(&arguments, &attributes)?;
    let call = ArtifactsPut {
        key,
        content,
        attributes,
        scope: arguments.or("scope", Scope::User)?,
        condition: condition(&mut arguments)?,
    };
    arguments.finish()?;
    Ok(call)
}

/// The arguments of `artifacts_delete`.
pub fn delete(text: Option<&str>) -> Result<ArtifactsDelete, Error> {
    let mut arguments = Arguments::of(text)?;
    let call = ArtifactsDelete {
        key: ArtifactKey::parse("key", arguments.required("key")?)?,
        scope: arguments.or("scope", Scope::User)?,
        condition: match arguments.optional::<String>("if_etag")? {
            Some(etag) => etag_condition(&arguments, &etag)?,
            None => ObjectCondition::Always,
        },
    };
    arguments.finish()?;
    Ok(call)
}

/// The arguments of `artifacts_list`.
///
/// # Errors
///
/// A cursor that does not fit is a fault of the protocol, anything else the tool's.
pub fn list(text: Option<&str>) -> Result<Result<ArtifactsList, Error>, CallFault> {
    let parse = || {
        let mut arguments = Arguments::of(text)?;
        let call = ArtifactsList {
            prefix: super::prefix(&mut arguments, KEY_BYTES_MAX)?,
            scope: arguments.or("scope", Scope::User)?,
            delimiter: arguments
                .optional("delimiter")?
                .filter(|text: &String| !text.is_empty()),
            limit: arguments.number("limit", LIST_LIMIT, 1, LIST_LIMIT_MAX)?,
            token: arguments.optional("cursor")?,
        };
        if call
            .delimiter
            .as_ref()
            .is_some_and(|delimiter| delimiter.len() > 16)
        {
            return Err(arguments.wrong("delimiter", "may have 16 bytes".to_owned()));
        }
        arguments.finish()?;
        Ok(call)
    };
    opened(parse(), |call: &mut ArtifactsList| {
        let filters = ArtifactsList::filters(&call.prefix, call.scope, call.delimiter.as_deref());
        (&mut call.token, filters.to_vec())
    })
}

/// The content, from one of the three ways of giving it, and the media type it has by default.
fn content(arguments: &mut Arguments<'_>) -> Result<(Content, &'static str), Error> {
    const OCTETS: &str = "application/octet-stream";
    let text: Option<String> = arguments.optional("content")?;
    let base64: Option<String> = arguments.optional("content_base64")?;
    let upload: Option<UploadForm> = arguments.optional("upload")?;
    let size: Option<i64> = arguments.optional("size")?;
    let sha256: Option<String> = arguments.optional("sha256")?;
    if upload.is_none() && (size.is_some() || sha256.is_some()) {
        let name = if size.is_some() { "size" } else { "sha256" };
        return Err(arguments.wrong(name, "is for `upload: \"url\"` only".to_owned()));
    }
    match (text, base64, upload) {
        (Some(text), None, None) => {
            Ok((Content::Here(checked(text.into_bytes())?), "text/plain; charset=utf-8"))
        }
        (None, Some(base64), None) => {
            let bytes = STANDARD.decode(base64.as_bytes()).map_err(|error| {
                arguments.wrong("content_base64", format!("is no base64: {error}"))
            })?;
            Ok((Content::Here(checked(bytes)?), OCTETS))
        }
        (None, None, Some(UploadForm)) => Ok((uploaded(arguments, size, sha256)?, OCTETS)),
        (None, None, None) => Err(arguments
            .wrong("content", "is missing".to_owned())
            .fix("Give `content` (text), `content_base64`, or `upload: \"url\"` with `size` and `sha256`.")),
        _ => Err(arguments
            .wrong("content", "is given in more than one way".to_owned())
            .fix("Give only one of `content`, `content_base64` and `upload`.")),
    }
}

fn checked(bytes: Vec<u8>) -> Result<Bytes, Error> {
    let size = bytes.len();
    if size <= CONTENT_BYTES_MAX {
        return Ok(bytes.into());
    }
    let message = format!("the content has {size} bytes; one call takes {CONTENT_BYTES_MAX}");
    Err(Error::new(ErrorKind::TooLarge, message)
        .fix("Give `upload: \"url\"` with `size` and `sha256`, and put it at the address in the answer.")
        .detail("limit", CONTENT_BYTES_MAX)
        .detail("size", size))
}

fn uploaded(
    arguments: &Arguments<'_>,
    size: Option<i64>,
    sha256: Option<String>,
) -> Result<Content, Error> {
    let size = size
        .and_then(|size| u64::try_from(size).ok())
        .filter(|&size| size <= UPLOAD_BYTES_MAX)
        .ok_or_else(|| {
            arguments.wrong(
                "size",
                format!("must be the content's bytes, 0 to {UPLOAD_BYTES_MAX}"),
            )
        })?;
    let sha256 = sha256.as_deref().and_then(parse_sha256).ok_or_else(|| {
        arguments.wrong(
            "sha256",
            "must be the content's SHA-256: 64 hex digits".to_owned(),
        )
    })?;
    Ok(Content::Upload { size, sha256 })
}

fn parse_sha256(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

fn check_attributes(arguments: &Arguments<'_>, attributes: &ObjectAttributes) -> Result<(), Error> {
    let content_type = &attributes.content_type;
    let printable = |text: &str| text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if content_type.is_empty()
        || content_type.len() > CONTENT_TYPE_BYTES_MAX
        || !content_type.contains('/')
        || !printable(content_type)
    {
        return Err(arguments
            .wrong("content_type", "is no media type".to_owned())
            .fix("Give one such as `text/markdown` or `image/png`."));
    }
    let is_name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte)
            })
    };
    let metadata = &attributes.metadata;
    if !metadata.keys().all(|name| is_name(name)) {
        return Err(arguments.wrong(
            "metadata",
            "has a name that is not of a-z, 0-9, `-`, `_` and `.`".to_owned(),
        ));
    }
    if metadata
        .values()
        .any(|value| value.chars().any(char::is_control))
    {
        return Err(arguments.wrong(
            "metadata",
            "has a value with a control character".to_owned(),
        ));
    }
    let bytes: usize = metadata
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > METADATA_BYTES_MAX {
        let what = format!("has {bytes} bytes; it may have {METADATA_BYTES_MAX}");
        return Err(arguments.wrong("metadata", what));
    }
    Ok(())
}

fn condition(arguments: &mut Arguments<'_>) -> Result<ObjectCondition, Error> {
    let absent = arguments.or("if_absent", false)?;
    match (absent, arguments.optional::<String>("if_etag")?) {
        (false, None) => Ok(ObjectCondition::Always),
        (true, None) => Ok(ObjectCondition::Absent),
        (false, Some(etag)) => etag_condition(arguments, &etag),
        (true, Some(_)) => Err(arguments
            .wrong(
                "if_etag",
                "cannot hold together with `if_absent`".to_owned(),
            )
            .fix("Give one of them.")),
    }
}

/// The longest etag that is looked at: bytes.
const ETAG_BYTES_MAX: usize = 128;

/// The condition of an etag, with or without the quotes that HTTP puts around it.
fn etag_condition(arguments: &Arguments<'_>, etag: &str) -> Result<ObjectCondition, Error> {
    let bare = etag.trim_matches('"');
    let fits = (1..=ETAG_BYTES_MAX).contains(&bare.len())
        && bare
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'"');
    if fits {
        return Ok(ObjectCondition::Etag(bare.to_owned()));
    }
    Err(arguments
        .wrong("if_etag", "is no etag".to_owned())
        .fix("Give the `etag` that artifacts_get or artifacts_list tells."))
}

struct UploadForm;

impl Argument for UploadForm {
    const EXPECTED: &'static str = "\"url\"";

    fn read(text: &RawValue) -> Option<Self> {
        (text.get() == "\"url\"").then_some(Self)
    }
}

impl Argument for As {
    const EXPECTED: &'static str = "\"auto\", \"text\", \"base64\" or \"url\"";

    fn read(text: &RawValue) -> Option<Self> {
        match text.get() {
            "\"auto\"" => Some(Self::Auto),
            "\"text\"" => Some(Self::Text),
            "\"base64\"" => Some(Self::Base64),
            "\"url\"" => Some(Self::Url),
            _ => None,
        }
    }
}
