//! Artifacts as resources: listed, read, completed and watched by the methods of the protocol.

use bytes::Bytes;
use serde::Serialize;

use super::artifacts::ArtifactAddress;
use super::cursor::{self, InvalidCursor};
use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{ArtifactsRead, Operation, Report, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::store::artifacts::ArtifactKey;
use crate::mesh::store::bucket::{ByteRange, GetOutcome, ObjectHead, ObjectSummary};
use crate::mesh::store::key::Scope;
use crate::mesh::{Error, ErrorKind};

/// The most bytes that one read hands out; more is read in ranges.
pub const READ_BYTES_MAX: u64 = 4 << 20;

/// How many resources a page has.
const PAGE: u32 = 100;

/// The most completions of one request; the protocol's limit.
const COMPLETIONS_MAX: u32 = 100;

/// Lists the caller's own artifacts, then the tenant's.
#[derive(Debug)]
pub struct ResourcesList {
    scope: Scope,
    token: Option<String>,
}

/// One page of resources.
#[derive(Debug, Serialize)]
pub struct ResourcesListAnswer {
    /// Address, key and what is known of each.
    #[serde(skip)]
    pub resources: Vec<(ArtifactAddress, ObjectSummary)>,
    /// Where there may be more.
    #[serde(skip)]
    pub next_cursor: Option<String>,
}

impl ResourcesList {
    const FILTERS: [&'static str; 1] = ["resources/list"];

    /// The page that `cursor` names, or the first.
    pub fn at(cursor: Option<&str>) -> Result<Self, InvalidCursor> {
        let Some(cursor) = cursor else {
            return Ok(Self {
                scope: Scope::User,
                token: None,
            });
        };
        let position = cursor::open(cursor, &Self::FILTERS)?;
        let (scope, token) = position.split_once(':').ok_or(InvalidCursor)?;
        let scope = match scope {
            "user" => Scope::User,
            "tenant" => Scope::Tenant,
            _ => return Err(InvalidCursor),
        };
        Ok(Self {
            scope,
            token: (!token.is_empty()).then(|| token.to_owned()),
        })
    }
}

impl Operation for ResourcesList {
    const TOOL: Tool = Tool::ResourcesList;
    type Needs = ArtifactsRead;
    type Answer = ResourcesListAnswer;

    fn subject(&self) -> Subject {
        Subject::none().with("scope", self.scope.name())
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::S3List, 1.0)
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<ResourcesListAnswer, Error> {
        let page = call
            .artifacts(self.scope)
            .list("", None, PAGE, self.token.as_deref())
            .await?;
        let next = match (page.next, self.scope) {
            (Some(token), scope) => Some(format!("{}:{token}", scope.name())),
            (None, Scope::User) => Some("tenant:".to_owned()),
            (None, Scope::Tenant) => None,
        };
        let address = |key| {
            // What an older server or another program put into the bucket may have a key that no tool of
            // ours takes; it has no address.
            let key = ArtifactKey::parse("key", key).ok()?;
            Some(ArtifactAddress::new(self.scope, key))
        };
        let resources = page
            .objects
            .into_iter()
            .filter_map(|(key, object)| Some((address(key)?, object)));
        Ok(ResourcesListAnswer {
            resources: resources.collect(),
            next_cursor: next.map(|position| cursor::seal(&position, &Self::FILTERS)),
        })
    }

    fn report(answer: &ResourcesListAnswer) -> Report {
        Report {
            bytes: None,
            facts: vec![("items", answer.resources.len().into())],
        }
    }
}

/// Reads one artifact, or a part of one.
#[derive(Debug)]
pub struct ResourcesRead {
    /// Which.
    pub address: ArtifactAddress,
}

/// What [`ResourcesRead`] answers.
#[derive(Debug, Serialize)]
pub struct ResourcesReadAnswer {
    /// What is known of the whole artifact.
    #[serde(skip)]
    pub head: ObjectHead,
    /// The bytes asked for.
    #[serde(skip)]
    pub body: Bytes,
}

impl Operation for ResourcesRead {
    const TOOL: Tool = Tool::ResourcesRead;
    type Needs = ArtifactsRead;
    type Answer = ResourcesReadAnswer;

    fn subject(&self) -> Subject {
        subject(&self.address)
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::S3Get, 1.0)
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<ResourcesReadAnswer, Error> {
        let ArtifactAddress { scope, key, range } = &self.address;
        let object = match call
            .artifacts(*scope)
            .get(key, *range, READ_BYTES_MAX)
            .await?
        {
            GetOutcome::Found(object) => object,
            GetOutcome::Absent => {
                return Err(Error::new(ErrorKind::NotFound, "there is no such artifact")
                    .fix("List what there is with resources/list or artifacts_list."));
            }
            GetOutcome::OutOfRange(_) => {
                return Err(Error::invalid("uri", "the range lies outside the artifact"));
            }
        };
        let end = object.offset.saturating_add(object.body.len() as u64);
        let size = object.head.size;
        let wanted = match range {
            Some(ByteRange::From(_, Some(last))) => size.min(last.saturating_add(1)),
            _ => size,
        };
        if end < wanted {
            let message = format!(
                "the artifact has {size} bytes; one read hands out {READ_BYTES_MAX} of them"
            );
            return Err(Error::new(ErrorKind::TooLarge, message)
                .fix("Read it in parts: add ?range=0-4194303 to the address, then the next part.")
                .detail("limit", READ_BYTES_MAX)
                .detail("size", size));
        }
        Ok(ResourcesReadAnswer {
            head: object.head,
            body: object.body,
        })
    }

    fn report(answer: &ResourcesReadAnswer) -> Report {
        Report {
            bytes: Some(answer.body.len() as u64),
            facts: Vec::new(),
        }
    }
}

/// Completes the key of an artifact.
#[derive(Debug)]
pub struct Complete {
    /// Whose artifacts.
    pub scope: Scope,
    /// What the key begins with.
    pub prefix: String,
}

/// What [`Complete`] answers.
#[derive(Debug, Serialize)]
pub struct CompleteAnswer {
    /// Keys, in order.
    pub keys: Vec<String>,
    /// Whether there are more.
    pub has_more: bool,
}

impl Operation for Complete {
    const TOOL: Tool = Tool::Complete;
    type Needs = ArtifactsRead;
    type Answer = CompleteAnswer;

    fn subject(&self) -> Subject {
        Subject::none()
            .with("prefix", self.prefix.as_str())
            .with("scope", self.scope.name())
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::S3List, 1.0)
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<CompleteAnswer, Error> {
        let page = call
            .artifacts(self.scope)
            .list(&self.prefix, None, COMPLETIONS_MAX, None)
            .await?;
        let keys = page.objects.into_iter().map(|(key, _)| key).collect();
        Ok(CompleteAnswer {
            keys,
            has_more: page.next.is_some(),
        })
    }
}

/// Checks that the caller may watch an artifact; it need not be there yet.
#[derive(Debug)]
pub struct ResourcesSubscribe {
    /// Which.
    pub address: ArtifactAddress,
}

impl Operation for ResourcesSubscribe {
    const TOOL: Tool = Tool::ResourcesSubscribe;
    type Needs = ArtifactsRead;
    type Answer = Watched;

    fn subject(&self) -> Subject {
        subject(&self.address)
    }

    fn cost(&self) -> Cost {
        Cost::NONE
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<Watched, Error> {
        Ok(call.artifacts(self.address.scope).watch(&self.address.key))
    }
}

pub use crate::mesh::store::artifacts::Watched;

fn subject(address: &ArtifactAddress) -> Subject {
    Subject::none()
        .with("key", address.key.as_str())
        .with("scope", address.scope.name())
}
