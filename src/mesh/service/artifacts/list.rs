//! Listing artifacts, a page that fits one answer at a time.

use serde::Serialize;

use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{ArtifactsRead, Operation, Report, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::service::cursor;
use crate::mesh::store::key::Scope;
use crate::mesh::{Error, Timestamp};

/// Lists artifacts.
#[derive(Debug)]
pub struct ArtifactsList {
    /// What every key begins with.
    pub prefix: String,
    /// Whose.
    pub scope: Scope,
    /// Keys that have more than this after the prefix are told as one common prefix.
    pub delimiter: Option<String>,
    /// How many keys and common prefixes at most: 1 to 1,000.
    pub limit: u32,
    /// Where the last page ended.
    pub token: Option<String>,
}

/// What [`ArtifactsList`] answers.
#[derive(Debug, Serialize)]
pub struct ArtifactsListAnswer {
    items: Vec<ArtifactItem>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    common_prefixes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
struct ArtifactItem {
    key: String,
    size: u64,
    etag: String,
    last_modified: Timestamp,
}

/// The most keys on a page whose text surely fits: a key of 800 bytes may be escaped to twice that.
const LIST_BYTES_MAX: usize = 56_000;

/// What an item adds to the answer's text besides its key: bytes.
const ITEM_OVERHEAD_BYTES: usize = 140;

impl ArtifactsList {
    /// What a cursor of this listing is bound to.
    pub fn filters(prefix: &str, scope: Scope, delimiter: Option<&str>) -> [String; 4] {
        [
            Tool::ArtifactsList.name().to_owned(),
            scope.name().to_owned(),
            prefix.to_owned(),
            delimiter.unwrap_or_default().to_owned(),
        ]
    }
}

impl Operation for ArtifactsList {
    const TOOL: Tool = Tool::ArtifactsList;
    type Needs = ArtifactsRead;
    type Answer = ArtifactsListAnswer;

    fn subject(&self) -> Subject {
        Subject::none()
            .with("prefix", self.prefix.as_str())
            .with("scope", self.scope.name())
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::S3List, 1.0)
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<ArtifactsListAnswer, Error> {
        let artifacts = call.artifacts(self.scope);
        let (delimiter, token) = (self.delimiter.as_deref(), self.token.as_deref());
        let mut limit = self.limit;
        // A page whose keys are too long for one answer is read again, shorter: the bucket's token
        // stands only where the bucket itself ended a page.
        let page = loop {
            let page = artifacts
                .list(&self.prefix, delimiter, limit, token)
                .await?;
            let keys = page
                .objects
                .iter()
                .map(|(key, _)| key.len() * 2 + ITEM_OVERHEAD_BYTES);
            let prefixes = page
                .common_prefixes
                .iter()
                .map(|prefix| prefix.len() * 2 + 4);
            let bytes: usize = keys.chain(prefixes).sum();
            if bytes <= LIST_BYTES_MAX || limit == 1 {
                break page;
            }
            let fits = limit as usize * LIST_BYTES_MAX / bytes;
            limit = u32::try_from(fits).unwrap_or(limit).clamp(1, limit - 1);
        };
        let filters = Self::filters(&self.prefix, self.scope, delimiter);
        let seal = |token: String| cursor::seal(&token, &filters.each_ref().map(String::as_str));
        Ok(ArtifactsListAnswer {
            items: page
                .objects
                .into_iter()
                .map(|(key, object)| ArtifactItem {
                    key,
                    size: object.size,
                    etag: object.etag,
                    last_modified: object.last_modified,
                })
                .collect(),
            common_prefixes: page.common_prefixes,
            next_cursor: page.next.map(seal),
        })
    }

    fn report(answer: &ArtifactsListAnswer) -> Report {
        Report {
            bytes: None,
            facts: vec![("items", answer.items.len().into())],
        }
    }
}
