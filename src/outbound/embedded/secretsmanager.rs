//! Secrets: Secrets Manager's operations, and texts that lie sealed in the folder.

mod answer;
mod file;
mod key;
mod store;

use std::sync::Arc;

use bytes::Bytes;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::faults::Service;
use super::folder::{Failure, Folder};
use super::wire::Answer;
use super::{ACCOUNT, REGION};
use crate::mesh::{Clock, Error, Timestamp};
use answer::{ok, refuse};
use file::{Header, Opened};
use store::{SecretFiles, Stored};

/// The most bytes of a request: a secret of the largest size, each byte of it escaped.
const BODY_BYTES_MAX: usize = 512 << 10;

/// The most bytes of a secret, as Secrets Manager counts.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// The longest name, in characters.
const NAME_CHARS_MAX: usize = 512;

/// The longest token of a request, in characters.
const TOKEN_CHARS_MAX: usize = 64;

/// The most secrets of one folder.
const SECRETS_MAX: usize = 10_000;

/// The most entries of one page, and what is taken where none is asked for.
const PAGE_MAX: usize = 100;

/// The most requests that are at work on the disk at one time.
const AT_WORK_MAX: usize = 4;

const OPERATIONS: [&str; 7] = [
    "CreateSecret",
    "PutSecretValue",
    "GetSecretValue",
    "DescribeSecret",
    "DeleteSecret",
    "RestoreSecret",
    "ListSecrets",
];

/// The engine of all secrets.
#[derive(Debug)]
pub(super) struct Secrets {
    parts: Arc<Parts>,
    free: Arc<Semaphore>,
}

struct Parts {
    files: SecretFiles,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Parts")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// Why a request was not carried out.
#[derive(Debug)]
enum Refusal {
    /// The request is wrong, in the service's own words: code and message.
    Request(&'static str, String),
    /// The key cannot be used.
    Key(String),
    /// A secret cannot be opened.
    Damaged(&'static str),
    /// The disk refuses.
    Storage(Failure),
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Self::Storage(error.into())
    }
}

impl Refusal {
    fn parameter(message: &str) -> Self {
        Self::Request("InvalidParameterException", message.to_owned())
    }

    fn not_found() -> Self {
        let message = "Secrets Manager can't find the specified secret.";
        Self::Request("ResourceNotFoundException", message.to_owned())
    }

    fn exists(what: &str) -> Self {
        let message = format!("The operation failed because the {what} already exists.");
        Self::Request("ResourceExistsException", message)
    }
}

type Answered = Result<Value, Refusal>;

/// What writes a value.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Write {
    #[serde(alias = "Name")]
    secret_id: Option<String>,
    client_request_token: Option<String>,
    secret_string: Option<String>,
}

/// What names a secret.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct One {
    secret_id: Option<String>,
    #[serde(default)]
    force_delete_without_recovery: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct List {
    max_results: Option<usize>,
    next_token: Option<String>,
    #[serde(default)]
    filters: Vec<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    key: Option<String>,
    #[serde(default)]
    values: Vec<String>,
}

/// A new value and the name that it is for.
struct NewValue {
    name: String,
    version: String,
    text: SecretString,
}

impl Secrets {
    /// The secrets of `folder`. Nothing is read or made before the first request.
    pub(super) fn open(folder: &Folder, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let lock = folder.lock("secrets.lock")?;
        let files = SecretFiles::new(folder.secrets_path(), folder.secrets_key_path(), lock);
        Ok(Self {
            parts: Arc::new(Parts { files, clock }),
            free: Arc::new(Semaphore::new(AT_WORK_MAX)),
        })
    }

    /// The operation of that name, or the empty name where there is none of it here.
    pub(super) fn operation(name: &str) -> &'static str {
        let mut known = OPERATIONS.into_iter();
        known
            .find(|operation| *operation == name)
            .unwrap_or_default()
    }

    /// The answer to a request. The disk is touched on a thread for blocking work.
    pub(super) async fn answer(&self, operation: &'static str, body: Bytes) -> Answer {
        if body.len() > BODY_BYTES_MAX {
            return refuse(Refusal::parameter("The request is too large."));
        }
        let Ok(permit) = Arc::clone(&self.free).acquire_owned().await else {
            return Answer::server_error(Service::Secrets);
        };
        let parts = Arc::clone(&self.parts);
        let work = move || {
            let done = parts.carry_out(operation, &body);
            drop(permit);
            done
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(result)) => ok(&result),
            Ok(Err(refusal)) => refuse(refusal),
            Err(error) => {
                // What a panic says may hold what it was about.
                let panicked = error.is_panic();
                tracing::error!(panicked, operation, "a request for a secret broke down");
                Answer::server_error(Service::Secrets)
            }
        }
    }
}

impl Parts {
    fn carry_out(&self, operation: &str, body: &[u8]) -> Answered {
        match operation {
            "CreateSecret" => self.create(body),
            "PutSecretValue" => self.put(body),
            "GetSecretValue" => self.get(body),
            "DescribeSecret" => self.describe(body),
            "DeleteSecret" => self.delete(body),
            "RestoreSecret" => self.restore(body),
            "ListSecrets" => self.list(body),
            _ => Err(Refusal::Request(
                "UnknownOperationException",
                "The embedded cloud does not have this operation.".to_owned(),
            )),
        }
    }

    fn create(&self, body: &[u8]) -> Answered {
        let new = NewValue::parse(body)?;
        self.files.change(|files| {
            match files.read(&new.name)? {
                Stored::Absent if files.count()? >= SECRETS_MAX => {
                    return Err(Refusal::Request(
                        "LimitExceededException",
                        format!("The embedded cloud has at most {SECRETS_MAX} secrets."),
                    ));
                }
                Stored::Absent => {}
                // A repetition of the request that made it.
                Stored::There(sealed) if files.holds(&sealed, &new.version, &new.text)? => {
                    return Ok(written(&new));
                }
                Stored::There(_) | Stored::Damaged => {
                    return Err(Refusal::exists("secret"));
                }
            }
            files.write(&self.header(&new, None), &new.text)?;
            Ok(written(&new))
        })
    }

    fn put(&self, body: &[u8]) -> Answered {
        let new = NewValue::parse(body)?;
        self.files.change(|files| {
            let created = match files.read(&new.name)? {
                Stored::Absent => return Err(Refusal::not_found()),
                // What cannot be read is replaced: that is how a damaged secret is mended.
                Stored::Damaged => None,
                Stored::There(sealed) if sealed.header.version == new.version => {
                    if files.holds(&sealed, &new.version, &new.text)? {
                        return Ok(written(&new));
                    }
                    return Err(Refusal::exists("version"));
                }
                Stored::There(sealed) => Some(sealed.header.created),
            };
            files.write(&self.header(&new, created), &new.text)?;
            Ok(written(&new))
        })
    }

    fn get(&self, body: &[u8]) -> Answered {
        let name = One::parse(body)?.name()?;
        let sealed = match self.files.read(&name)? {
            Stored::There(sealed) => sealed,
            Stored::Absent => return Err(Refusal::not_found()),
            Stored::Damaged => return Err(Refusal::Damaged(file::DAMAGED)),
        };
        match self.files.open(&sealed)? {
            Opened::Text(text) => Ok(json!({
                "ARN": arn(&name),
                "Name": name,
                "VersionId": sealed.header.version,
                "SecretString": text.expose_secret(),
                "VersionStages": ["AWSCURRENT"],
                "CreatedDate": seconds(sealed.header.changed),
            })),
            Opened::OtherKey => Err(Refusal::Damaged(file::OTHER_KEY)),
            Opened::Damaged => Err(Refusal::Damaged(file::DAMAGED)),
        }
    }

    fn describe(&self, body: &[u8]) -> Answered {
        let name = One::parse(body)?.name()?;
        match self.files.read(&name)? {
            Stored::Absent => Err(Refusal::not_found()),
            Stored::Damaged => Ok(json!({"ARN": arn(&name), "Name": name})),
            Stored::There(sealed) => Ok(described(&sealed.header)),
        }
    }

    fn delete(&self, body: &[u8]) -> Answered {
        let request = One::parse(body)?;
        if !request.force_delete_without_recovery {
            return Err(Refusal::parameter(
                "The embedded cloud deletes without recovery only.",
            ));
        }
        let name = request.name()?;
        // As on AWS it succeeds where there is nothing.
        self.files.change(|files| files.remove(&name))?;
        let now = seconds(self.clock.now());
        Ok(json!({"ARN": arn(&name), "Name": name, "DeletionDate": now}))
    }

    fn restore(&self, body: &[u8]) -> Answered {
        let name = One::parse(body)?.name()?;
        match self.files.read(&name)? {
            Stored::Absent => Err(Refusal::not_found()),
            Stored::Damaged | Stored::There(_) => Ok(json!({"ARN": arn(&name), "Name": name})),
        }
    }

    /// Names in order. The token of the next page is the last name of this one.
    fn list(&self, body: &[u8]) -> Answered {
        let request: List = parse(body)?;
        let prefixes = request.prefixes()?;
        let after = request.next_token.unwrap_or_default();
        let most = request.max_results.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
        let mut found = self.files.headers()?;
        found.retain(|header| {
            let fits = |prefix: &String| header.name.starts_with(prefix.as_str());
            header.name > after && (prefixes.is_empty() || prefixes.iter().any(fits))
        });
        found.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let has_more = found.len() > most;
        found.truncate(most);
        let list: Vec<Value> = found.iter().map(described).collect();
        let mut answer = json!({"SecretList": list});
        if has_more && let Some(last) = found.last() {
            answer["NextToken"] = Value::from(last.name.as_str());
        }
        Ok(answer)
    }

    fn header(&self, new: &NewValue, created: Option<Timestamp>) -> Header {
        let now = self.clock.now();
        Header {
            name: new.name.clone(),
            version: new.version.clone(),
            created: created.unwrap_or(now),
            changed: now,
        }
    }
}

impl NewValue {
    fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let request: Write = parse(body)?;
        let name = named(request.secret_id)?;
        let text = SecretString::from(request.secret_string.unwrap_or_default());
        if !(1..=TEXT_BYTES_MAX).contains(&text.expose_secret().len()) {
            return Err(Refusal::parameter(
                "You must provide SecretString of 1 to 65536 bytes.",
            ));
        }
        let version = request
            .client_request_token
            .unwrap_or_else(|| Uuid::new_v4().to_string());
        if version.is_empty() || version.len() > TOKEN_CHARS_MAX || !version.is_ascii() {
            return Err(Refusal::parameter("ClientRequestToken is invalid."));
        }
        Ok(Self {
            name,
            version,
            text,
        })
    }
}

impl One {
    fn parse(body: &[u8]) -> Result<Self, Refusal> {
        parse(body)
    }

    fn name(self) -> Result<String, Refusal> {
        named(self.secret_id)
    }
}

impl List {
    fn prefixes(&self) -> Result<Vec<String>, Refusal> {
        let is_by_name = |filter: &Filter| filter.key.as_deref() == Some("name");
        if !self.filters.iter().all(is_by_name) {
            return Err(Refusal::parameter(
                "The embedded cloud filters by name only.",
            ));
        }
        let values = self.filters.iter().flat_map(|filter| filter.values.iter());
        Ok(values.cloned().collect())
    }
}

/// A request's members. What the parser says of it may repeat some of it.
fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|_| {
        Refusal::Request(
            "SerializationException",
            "The request is malformed.".to_owned(),
        )
    })
}

fn named(name: Option<String>) -> Result<String, Refusal> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte);
    name.filter(|name| (1..=NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(allowed))
        .ok_or_else(|| {
            Refusal::Request(
                "ValidationException",
                "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!".to_owned(),
            )
        })
}

fn written(new: &NewValue) -> Value {
    json!({
        "ARN": arn(&new.name),
        "Name": new.name,
        "VersionId": new.version,
        "VersionStages": ["AWSCURRENT"],
    })
}

fn described(header: &Header) -> Value {
    json!({
        "ARN": arn(&header.name),
        "Name": header.name,
        "CreatedDate": seconds(header.created),
        "LastChangedDate": seconds(header.changed),
    })
}

fn arn(name: &str) -> String {
    format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}")
}

/// A time as the service tells it.
fn seconds(time: Timestamp) -> f64 {
    std::time::Duration::from_millis(time.as_millis().max(0).unsigned_abs()).as_secs_f64()
}
