//! Storing an artifact: content that comes with the call, or an address to put it at.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{ADDRESS_LIFETIME, ArtifactAddress, condition_failed, subject};
use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{ArtifactsWrite, Operation, Report, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::store::artifacts::{ArtifactKey, PART_BYTES};
use crate::mesh::store::bucket::{
    ObjectAttributes, ObjectCondition, Presigned, PutOutcome, UploadTerms,
};
use crate::mesh::store::idempotency::hex;
use crate::mesh::store::key::Scope;
use crate::mesh::{Error, Timestamp};

/// Stores one artifact.
#[derive(Debug)]
pub struct ArtifactsPut {
    /// Under which key.
    pub key: ArtifactKey,
    /// Whose.
    pub scope: Scope,
    /// Where its bytes are.
    pub content: Content,
    /// Its media type and the caller's metadata.
    pub attributes: ObjectAttributes,
    /// What must hold.
    pub condition: ObjectCondition,
}

/// Where an artifact's bytes are.
#[derive(Debug)]
pub enum Content {
    /// Here.
    Here(Bytes),
    /// With the caller, who will put them at a presigned address.
    Upload {
        /// Their exact number.
        size: u64,
        /// Their SHA-256.
        sha256: [u8; 32],
    },
}

/// What [`ArtifactsPut`] answers. With an upload there is no `etag` yet, but where to put the content.
#[derive(Debug, Serialize)]
pub struct ArtifactsPutAnswer {
    key: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    sha256: String,
    content_type: String,
    uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    upload: Option<Upload>,
}

#[derive(Debug, Serialize)]
struct Upload {
    method: &'static str,
    url: String,
    headers: BTreeMap<String, String>,
    expires_at: Timestamp,
}

impl Operation for ArtifactsPut {
    const TOOL: Tool = Tool::ArtifactsPut;
    type Needs = ArtifactsWrite;
    type Answer = ArtifactsPutAnswer;

    fn subject(&self) -> Subject {
        subject(self.scope, &self.key)
            .with("content_type", self.attributes.content_type.as_str())
            .with("size", self.content.size())
    }

    fn cost(&self) -> Cost {
        let parts = match &self.content {
            Content::Here(body) => 1 + (body.len() as u64 / PART_BYTES) * 2,
            Content::Upload { .. } => 1,
        };
        Cost::of(Direction::S3Put, parts as f64)
            .and(Direction::S3Get, 1.0)
            .and(Direction::DynamodbWrite, 1.0)
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<ArtifactsPutAnswer, Error> {
        let artifacts = call.artifacts(self.scope);
        let mut answer = ArtifactsPutAnswer {
            key: self.key.as_str().to_owned(),
            size: self.content.size(),
            etag: None,
            sha256: String::new(),
            content_type: self.attributes.content_type.clone(),
            uri: ArtifactAddress::new(self.scope, self.key.clone()).to_string(),
            upload: None,
        };
        match self.content {
            Content::Here(body) => {
                answer.sha256 = hex(&Sha256::digest(&body));
                call.progress(0.0, Some(body.len() as f64), "storing");
                let outcome = artifacts
                    .put(&self.key, body, &self.attributes, self.condition)
                    .await?;
                match outcome {
                    PutOutcome::Done(etag) => answer.etag = Some(etag),
                    PutOutcome::ConditionFailed => return Err(condition_failed(&self.key)),
                }
            }
            Content::Upload { size, sha256 } => {
                answer.sha256 = hex(&sha256);
                let terms = UploadTerms {
                    size,
                    sha256_base64: STANDARD.encode(sha256),
                    attributes: self.attributes,
                    condition: self.condition,
                    id: String::new(),
                };
                let presigned = artifacts
                    .presign_put(&self.key, terms, ADDRESS_LIFETIME)
                    .await?;
                let Some(Presigned { url, headers }) = presigned else {
                    return Err(condition_failed(&self.key));
                };
                answer.upload = Some(Upload {
                    method: "PUT",
                    url,
                    headers: headers.into_iter().collect(),
                    expires_at: call.now().plus(ADDRESS_LIFETIME),
                });
            }
        }
        Ok(answer)
    }

    fn report(answer: &ArtifactsPutAnswer) -> Report {
        Report {
            bytes: Some(answer.size),
            facts: vec![("sha256", answer.sha256.clone().into())],
        }
    }
}

impl Content {
    fn size(&self) -> u64 {
        match self {
            Self::Here(body) => body.len() as u64,
            Self::Upload { size, .. } => *size,
        }
    }
}
