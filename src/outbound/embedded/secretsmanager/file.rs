//! What a file of the secret store holds: who it is of in plain, and the text sealed.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::Refusal;
use super::key::{SealedText, SealingKey};
use crate::mesh::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What is said of a secret that does not open.
pub(super) const DAMAGED: &str =
    "the file of this secret is damaged, or was changed by another hand";

/// What is said of a secret whose key is not the one that is there.
pub(super) const OTHER_KEY: &str =
    "this secret was kept under another key than the one in `secrets.key`";

/// The format of the files.
const FORMAT: u32 = 1;

/// What is known of a secret without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) created: Timestamp,
    pub(super) changed: Timestamp,
}

/// A secret as it lies on the disk.
#[derive(Clone, Debug)]
pub(super) struct Sealed {
    pub(super) header: Header,
    key_id: String,
    nonce: String,
    sealed: String,
}

/// What opening gave.
pub(super) enum Opened {
    Text(SecretString),
    OtherKey,
    Damaged,
}

/// The text of a file.
#[derive(Serialize, Deserialize)]
struct Lines {
    format: u32,
    name: String,
    version: String,
    created_ms: i64,
    changed_ms: i64,
    key: String,
    nonce: String,
    sealed: String,
}

impl Header {
    /// What the text is bound to: a file under another name, or with another header, does not open.
    fn bound(&self) -> Vec<u8> {
        let (created, changed) = (self.created.as_millis(), self.changed.as_millis());
        // No part holds the end of a line.
        format!(
            "agent-mesh-secret-v{FORMAT}\n{}\n{}\n{created}\n{changed}",
            self.name, self.version
        )
        .into_bytes()
    }

    /// The text of a file that holds `text` under this header.
    pub(super) fn seal(&self, key: &SealingKey, text: &str) -> Result<Vec<u8>, Refusal> {
        let sealed = key.seal(&self.bound(), text)?;
        let lines = Lines {
            format: FORMAT,
            name: self.name.clone(),
            version: self.version.clone(),
            created_ms: self.created.as_millis(),
            changed_ms: self.changed.as_millis(),
            key: key.id.clone(),
            nonce: STANDARD.encode(&sealed.nonce),
            sealed: STANDARD.encode(&sealed.bytes),
        };
        let mut text = serde_json::to_vec_pretty(&lines).map_err(std::io::Error::from)?;
        text.push(b'\n');
        Ok(text)
    }
}

impl Sealed {
    /// What a file holds; nothing where it is torn or none of ours.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let lines: Lines = serde_json::from_slice(text).ok()?;
        let is_whole =
            lines.format == FORMAT && !lines.name.contains('\n') && !lines.version.contains('\n');
        is_whole.then(|| Self {
            header: Header {
                name: lines.name,
                version: lines.version,
                created: Timestamp::from_millis(lines.created_ms),
                changed: Timestamp::from_millis(lines.changed_ms),
            },
            key_id: lines.key,
            nonce: lines.nonce,
            sealed: lines.sealed,
        })
    }

    /// The text, opened with `key`.
    pub(super) fn open(&self, key: &SealingKey) -> Opened {
        if self.key_id != key.id {
            return Opened::OtherKey;
        }
        let opened = || {
            let sealed = SealedText {
                nonce: STANDARD.decode(&self.nonce).ok()?,
                bytes: STANDARD.decode(&self.sealed).ok()?,
            };
            let bytes = key.open(&self.header.bound(), sealed)?;
            let text = std::str::from_utf8(&bytes).ok()?;
            Some(SecretString::from(text))
        };
        opened().map_or(Opened::Damaged, Opened::Text)
    }
}
