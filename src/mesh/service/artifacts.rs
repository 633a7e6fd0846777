//! Artifacts: files under a key, private to a user or shared by the tenant.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{
    ArtifactsRead, ArtifactsWrite, Operation, Report, ResourceLink, Subject,
};
use crate::mesh::call::tool::Tool;
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::service::address::{Address, Addressed};
use crate::mesh::store::artifacts::ArtifactKey;
use crate::mesh::store::bucket::{
    ByteRange, GetOutcome, Object, ObjectCondition, ObjectHead, Presigned,
};
use crate::mesh::store::key::Scope;
use crate::mesh::{Error, ErrorKind, Timestamp};

mod list;
mod put;
mod text;

pub use list::{ArtifactsList, ArtifactsListAnswer};
pub use put::{ArtifactsPut, ArtifactsPutAnswer, Content};
pub use text::{INLINE_BYTES_MAX, Inline, is_text_type};

/// The address of an artifact as an MCP resource.
pub type ArtifactAddress = Address<ArtifactKey>;

impl Addressed for ArtifactKey {
    const ROOT: &'static str = "mesh://artifacts/";

    fn of(text: String) -> Option<Self> {
        Self::parse("uri", text).ok()
    }

    fn text(&self) -> &str {
        self.as_str()
    }
}

/// The largest artifact that passes through a call: bytes. A frame of 16 MiB holds no more in base64.
pub const CONTENT_BYTES_MAX: usize = 11 << 20;

/// The largest artifact that a presigned upload may have: bytes; S3's limit for one PUT.
pub const UPLOAD_BYTES_MAX: u64 = 5 << 30;

/// How long a presigned address may be used.
pub const ADDRESS_LIFETIME: Duration = Duration::from_mins(15);

/// The most keys on one page.
pub const LIST_LIMIT_MAX: u32 = 1000;

/// How an artifact is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum As {
    /// Text inline as far as it goes, anything else as a link.
    #[default]
    Auto,
    /// Text; refused where it is none.
    Text,
    /// Base64 inline as far as it goes.
    Base64,
    /// A presigned address.
    Url,
}

/// Reads one artifact.
#[derive(Debug)]
pub struct ArtifactsGet {
    /// Which.
    pub key: ArtifactKey,
    /// Whose.
    pub scope: Scope,
    /// Only this part.
    pub range: Option<ByteRange>,
    /// How it is wanted.
    pub form: As,
}

/// What [`ArtifactsGet`] answers.
#[derive(Debug, Default, Serialize)]
pub struct ArtifactsGetAnswer {
    key: String,
    found: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_modified: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    /// The resource that holds the whole, where the answer does not.
    #[serde(skip)]
    link: Option<ResourceLink>,
    #[serde(skip)]
    bytes: Option<u64>,
}

impl ArtifactsGetAnswer {
    fn absent(key: &ArtifactKey) -> Self {
        Self {
            key: key.as_str().to_owned(),
            ..Self::default()
        }
    }

    fn found(key: &ArtifactKey, scope: Scope, head: ObjectHead) -> Self {
        Self {
            key: key.as_str().to_owned(),
            found: true,
            uri: Some(ArtifactAddress::new(scope, key.clone()).to_string()),
            content_type: Some(head.content_type),
            size: Some(head.size),
            etag: Some(head.etag),
            last_modified: Some(head.last_modified),
            metadata: Some(head.metadata),
            ..Self::default()
        }
    }

    fn with_body(mut self, inline: Inline, cut: bool) -> Self {
        self.truncated = cut;
        match inline {
            Inline::Text(text) => self.content = Some(text),
            Inline::Base64(text) => self.content_base64 = Some(text),
            Inline::Nothing => self.truncated = true,
        }
        if self.truncated {
            self.link = Some(ResourceLink {
                uri: self.uri.clone().unwrap_or_default(),
                name: self.key.clone(),
                content_type: self.content_type.clone().unwrap_or_default(),
                size: self.size.unwrap_or_default(),
            });
        }
        self
    }
}

impl Operation for ArtifactsGet {
    const TOOL: Tool = Tool::ArtifactsGet;
    type Needs = ArtifactsRead;
    type Answer = ArtifactsGetAnswer;

    fn subject(&self) -> Subject {
        subject(self.scope, &self.key)
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::S3Get, 1.0)
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<ArtifactsGetAnswer, Error> {
        if self.form == As::Url {
            return self.address(call).await;
        }
        let artifacts = call.artifacts(self.scope);
        match artifacts
            .get(&self.key, self.range, INLINE_BYTES_MAX as u64)
            .await?
        {
            GetOutcome::Absent => Ok(ArtifactsGetAnswer::absent(&self.key)),
            GetOutcome::OutOfRange(size) => Err(out_of_range(&self.key, size)),
            GetOutcome::Found(object) => self.inline(object),
        }
    }

    fn report(answer: &ArtifactsGetAnswer) -> Report {
        Report {
            bytes: answer.bytes,
            facts: vec![("found", answer.found.into())],
        }
    }

    fn link(answer: &ArtifactsGetAnswer) -> Option<&ResourceLink> {
        answer.link.as_ref()
    }
}

impl ArtifactsGet {
    async fn address(self, call: &Granted<'_, Self>) -> Result<ArtifactsGetAnswer, Error> {
        let artifacts = call.artifacts(self.scope);
        let Some(head) = artifacts.head(&self.key).await? else {
            return Ok(ArtifactsGetAnswer::absent(&self.key));
        };
        let Presigned { url, .. } = artifacts.presign_get(&self.key, ADDRESS_LIFETIME).await?;
        let mut answer = ArtifactsGetAnswer::found(&self.key, self.scope, head);
        answer.url = Some(url);
        answer.expires_at = Some(call.now().plus(ADDRESS_LIFETIME));
        Ok(answer)
    }

    fn inline(self, object: Object) -> Result<ArtifactsGetAnswer, Error> {
        let Object { head, body, offset } = object;
        let end = offset.saturating_add(body.len() as u64);
        let wanted_end = match self.range {
            Some(ByteRange::From(_, Some(last))) => head.size.min(last.saturating_add(1)),
            _ => head.size,
        };
        let (inline, whole) = match self.form {
            As::Base64 => Inline::base64(&body),
            As::Text => Inline::text(&body).ok_or_else(|| no_text(&self.key, &head))?,
            As::Auto | As::Url => match Inline::text(&body) {
                Some(text) if is_text_type(&head.content_type) || !body.contains(&0) => text,
                _ => (Inline::Nothing, false),
            },
        };
        let bytes = body.len() as u64;
        let mut answer = ArtifactsGetAnswer::found(&self.key, self.scope, head)
            .with_body(inline, !whole || end < wanted_end);
        answer.bytes = Some(bytes);
        Ok(answer)
    }
}

/// Deletes one artifact.
#[derive(Debug)]
pub struct ArtifactsDelete {
    /// Which.
    pub key: ArtifactKey,
    /// Whose.
    pub scope: Scope,
    /// What must hold.
    pub condition: ObjectCondition,
}

/// What [`ArtifactsDelete`] answers.
#[derive(Debug, Serialize)]
pub struct ArtifactsDeleteAnswer {
    key: String,
    existed: bool,
}

impl Operation for ArtifactsDelete {
    const TOOL: Tool = Tool::ArtifactsDelete;
    type Needs = ArtifactsWrite;
    type Answer = ArtifactsDeleteAnswer;

    fn subject(&self) -> Subject {
        subject(self.scope, &self.key)
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::S3Put, 1.0)
            .and(Direction::S3Get, 1.0)
            .and(Direction::DynamodbWrite, 1.0)
    }

    async fn serve<'call>(
        self,
        call: &Granted<'call, Self>,
    ) -> Result<ArtifactsDeleteAnswer, Error> {
        match call
            .artifacts(self.scope)
            .delete(&self.key, self.condition)
            .await?
        {
            Some(existed) => Ok(ArtifactsDeleteAnswer {
                key: self.key.as_str().to_owned(),
                existed,
            }),
            None => Err(condition_failed(&self.key)),
        }
    }

    fn report(answer: &ArtifactsDeleteAnswer) -> Report {
        Report {
            bytes: None,
            facts: vec![("existed", answer.existed.into())],
        }
    }
}

fn subject(scope: Scope, key: &ArtifactKey) -> Subject {
    Subject::none()
        .with("key", key.as_str())
        .with("scope", scope.name())
}

fn condition_failed(key: &ArtifactKey) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!(
            "the condition on `{}` does not hold: it was changed, or is there already",
            key.as_str()
        ),
    )
    .fix("Read its etag with artifacts_get and try again with that, or leave the condition out.")
}

fn out_of_range(key: &ArtifactKey, size: Option<u64>) -> Error {
    let message = match size {
        Some(size) => format!(
            "`range` lies outside `{}`, which has {size} bytes",
            key.as_str()
        ),
        None => format!("`range` lies outside `{}`", key.as_str()),
    };
    let error = Error::invalid("range", message)
        .fix("Positions count from 0; `0-999` is the first 1,000 bytes and `-500` the last 500.");
    match size {
        Some(size) => error.detail("size", size),
        None => error,
    }
}

fn no_text(key: &ArtifactKey, head: &ObjectHead) -> Error {
    Error::invalid(
        "as",
        format!(
            "`{}` ({}) is no UTF-8 text",
            key.as_str(),
            head.content_type
        ),
    )
    .fix("Read it with `as: base64`, in ranges if it is large.")
}
