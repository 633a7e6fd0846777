//! Secrets in Secrets Manager.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use bytes::Bytes;
use futures::FutureExt as _;
use http_body_util::Full;
use secrecy::{ExposeSecret as _, SecretString};

use super::attempts::LostAnswers;
use super::clients::Connection;
use super::error::{Part, fault};
use crate::mesh::store::key::{SecretKey, SecretPrefix};
use crate::mesh::store::secrets::{SECRET_BYTES_MAX, SECRETS_PAGE_MAX, SecretNames};
use crate::mesh::store::{Reply, SecretStore};
use crate::mesh::{Error, ErrorKind};

/// How often a secret is written anew while others create, delete or restore it.
const PUT_ROUNDS_MAX: usize = 5;

/// The pause after a round that met a deletion which is still going on.
const PUT_PAUSE: Duration = Duration::from_millis(500);

/// What is said of every secret that is created here.
const DESCRIPTION: &str = "Kept by agent-mesh for one tenant";

/// Secrets Manager by a [`Connection`].
#[derive(Clone, Debug)]
pub struct AwsSecrets {
    connection: Arc<Connection>,
}

/// What stands in the way of a new value.
enum Obstacle {
    /// Somebody else was faster: the next round finds what they left.
    Overtaken,
    /// It is scheduled for deletion, or just being deleted.
    Deleted,
}

impl AwsSecrets {
    /// Secrets Manager by `connection`.
    pub fn new(connection: Arc<Connection>) -> Self {
        Self { connection }
    }

    async fn read(&self, key: &SecretKey) -> Result<Option<SecretString>, Error> {
        let client = self.connection.secrets(key.tenant()).await;
        let answer = client.get_secret_value().secret_id(key.key()).send().await;
        match answer {
            Ok(found) => match found.secret_string {
                Some(text) => Ok(Some(SecretString::from(text))),
                None => Err(Error::new(
                    ErrorKind::AwsUnavailable,
                    "the secret holds bytes, and only texts can be used",
                )
                .fix("set it again with `use_aws_mcp secrets set`")),
            },
            Err(error) if is_absent(&error) || is_deleted(&error) => Ok(None),
            Err(error) => Err(fault(Part::Secrets, error)),
        }
    }

    async fn write(&self, key: &SecretKey, text: &SecretString) -> Result<(), Error> {
        check(text)?;
        let client = self.connection.secrets(key.tenant()).await;
        let lost = LostAnswers::default();
        for _ in 0..PUT_ROUNDS_MAX {
            match put_once(&client, key, text, &lost).await? {
                None => return Ok(()),
                Some(Obstacle::Overtaken) => {}
                Some(Obstacle::Deleted) => {
                    if !restore(&client, key).await? {
                        let pause = PUT_PAUSE.min(self.connection.settings().backoff_max);
                        tokio::time::sleep(pause).await;
                    }
                }
            }
        }
        let error = Error::new(
            ErrorKind::AwsUnavailable,
            "the secret is being changed or deleted by someone else",
        )
        .fix("try again in a few seconds");
        Err(lost.judge(error))
    }

    async fn remove(&self, key: &SecretKey) -> Result<bool, Error> {
        let client = self.connection.secrets(key.tenant()).await;
        // A deletion without recovery succeeds where there is nothing, so it does not say what was there.
        let there = match client.describe_secret().secret_id(key.key()).send().await {
            Ok(found) => found.deleted_date.is_none(),
            Err(error) if is_absent(&error) => return Ok(false),
            Err(error) => return Err(fault(Part::Secrets, error).not_done()),
        };
        let lost = LostAnswers::default();
        let delete = client
            .delete_secret()
            .secret_id(key.key())
            .force_delete_without_recovery(true)
            .customize()
            .interceptor(lost.clone());
        match delete.send().await {
            Ok(_) => Ok(there),
            Err(error) if is_absent(&error) => Ok(there && lost.any()),
            Err(error) if is_deleted(&error) => Ok(false),
            Err(error) => Err(lost.fault(Part::Secrets, error)),
        }
    }

    async fn names(
        &self,
        prefix: &SecretPrefix,
        after: Option<&str>,
    ) -> Result<SecretNames, Error> {
        let client = self.connection.secrets(prefix.tenant()).await;
        let filter = Filter::builder()
            .key(FilterNameStringType::Name)
            .values(prefix.root())
            .build();
        let page = client
            .list_secrets()
            .filters(filter)
            .max_results(i32::try_from(SECRETS_PAGE_MAX).unwrap_or(i32::MAX))
            .set_next_token(after.map(str::to_owned))
            .send()
            .await
            .map_err(|error| fault(Part::Secrets, error))?;
        let found = page.secret_list.unwrap_or_default();
        // The filter is a help, not a boundary: it may ignore case or take words apart.
        let names = found.iter().filter_map(|one| one.name.as_deref());
        let names = names.filter_map(|name| name.strip_prefix(prefix.root()));
        Ok(SecretNames {
            names: names.map(str::to_owned).collect(),
            next: page.next_token.filter(|token| !token.is_empty()),
        })
    }
}

impl SecretStore for AwsSecrets {
    fn get<'a>(&'a self, key: &'a SecretKey) -> Reply<'a, Option<SecretString>> {
        self.read(key).boxed()
    }

    fn put<'a>(&'a self, key: &'a SecretKey, text: &'a SecretString) -> Reply<'a, ()> {
        self.write(key, text).boxed()
    }

    fn delete<'a>(&'a self, key: &'a SecretKey) -> Reply<'a, bool> {
        self.remove(key).boxed()
    }

    fn list<'a>(
        &'a self,
        prefix: &'a SecretPrefix,
        after: Option<&'a str>,
    ) -> Reply<'a, SecretNames> {
        self.names(prefix, after).boxed()
    }
}

/// Refuses what the store would not take.
fn check(text: &SecretString) -> Result<(), Error> {
    match text.expose_secret().len() {
        0 => {
            Err(Error::invalid("secret", "a secret cannot be empty")
                .fix("give its text, or remove it"))
        }
        1..=SECRET_BYTES_MAX => Ok(()),
        _ => Err(Error::new(
            ErrorKind::TooLarge,
            format!("a secret has at most {} KiB", SECRET_BYTES_MAX >> 10),
        )
        .detail("limit", SECRET_BYTES_MAX)
        .fix("keep only what must be secret there")),
    }
}

/// One attempt to give the secret its value, which creates it where it is missing.
async fn put_once(
    client: &Client,
    key: &SecretKey,
    text: &SecretString,
    lost: &LostAnswers,
) -> Result<Option<Obstacle>, Error> {
    let put = client
        .put_secret_value()
        .secret_id(key.key())
        .secret_string(text.expose_secret())
        .customize()
        .interceptor(lost.clone());
    match put.send().await {
        Ok(_) => return Ok(None),
        Err(error) if is_absent(&error) => {}
        Err(error) if is_deleted(&error) => return Ok(Some(Obstacle::Deleted)),
        Err(error) => return Err(lost.fault(Part::Secrets, error)),
    }
    let create = client
        .create_secret()
        .name(key.key())
        .description(DESCRIPTION)
        .secret_string(text.expose_secret())
        .customize()
        .interceptor(lost.clone());
    match create.send().await {
        Ok(_) => Ok(None),
        Err(error) if error.code() == Some("ResourceExistsException") => {
            Ok(Some(Obstacle::Overtaken))
        }
        Err(error) if is_deleted(&error) => Ok(Some(Obstacle::Deleted)),
        Err(error) => Err(lost.fault(Part::Secrets, error)),
    }
}

/// Takes back the deletion of a secret; `false` where it is past that.
async fn restore(client: &Client, key: &SecretKey) -> Result<bool, Error> {
    match client.restore_secret().secret_id(key.key()).send().await {
        Ok(_) => Ok(true),
        Err(error) if is_absent(&error) || is_deleted(&error) => Ok(false),
        Err(error) => Err(fault(Part::Secrets, error).not_done()),
    }
}

fn is_absent(error: &impl ProvideErrorMetadata) -> bool {
    error.code() == Some("ResourceNotFoundException")
}

/// Whether the secret is scheduled for deletion. The code alone says only that it is in the wrong state.
fn is_deleted(error: &impl ProvideErrorMetadata) -> bool {
    error.code() == Some("InvalidRequestException")
        && error
            .message()
            .is_some_and(|message| message.to_ascii_lowercase().contains("delet"))
}

/// Keeps bodies of requests out of the SDK's own log, which shows at its finest level what can be shown: a
/// body that is a stream cannot.
#[derive(Debug)]
pub(super) struct UnshownBodies;

#[dyn_dispatch_hint]
impl Intercept for UnshownBodies {
    fn name(&self) -> &'static str {
        "UnshownBodies"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.request_mut().body_mut();
        if let Some(bytes) = body.bytes() {
            *body = SdkBody::from_body_1_x(Full::new(Bytes::copy_from_slice(bytes)));
        }
        Ok(())
    }
}
