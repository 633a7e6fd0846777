//! The cloud that fits in a folder, in process behind the SDK's HTTP-client seam.
//!
//! The same SDK clients that speak to AWS speak to this one; nothing listens on a socket. Several
//! processes of one user may have the folder open at once. `kill -9` at any moment loses nothing that
//! was acknowledged; a power cut may cost the last moments, because no write waits for the disk.

mod connector;
mod dynamodb;
mod eventbridge;
mod faults;
pub(in crate::outbound) mod folder;
mod housekeeper;
mod lane;
pub(in crate::outbound) mod lock;
mod machines;
mod newborn;
mod objects;
mod s3;
mod secretsmanager;
mod sns;
mod states;
mod sts;
#[cfg(test)]
mod tests;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;

use aws_smithy_runtime_api::client::http::SharedHttpClient;

pub use eventbridge::{EventSink, TakenEvent};
pub use faults::{Fault, Faults, Service};
pub use housekeeper::Swept;
pub use machines::FolderMachines;
pub use states::{Checked, FlawFound, ToolState, WorkflowFiles};
pub use wire::{SECRET_DAMAGED_CODE, SECRETS_KEY_CODE, STORAGE_FULL_CODE, STORAGE_READ_ONLY_CODE};

use crate::mesh::workflow::ToolCaller;
use crate::mesh::{Clock, Error};
use connector::{Connector, Engines};
use dynamodb::Dynamo;
use eventbridge::EventBridge;
use folder::Folder;
use housekeeper::Housekeeper;
use objects::ObjectStore;
use secretsmanager::Secrets;
use sns::Sns;
use states::States;

/// The region of the embedded cloud, whatever the environment says.
pub const REGION: &str = "us-west-2";

/// The account that owns everything in the embedded cloud.
pub const ACCOUNT: &str = "000000000000";

/// The access key that requests to the embedded cloud are signed with. It protects nothing: whoever
/// can read the folder can read what is in it.
pub const ACCESS_KEY_ID: &str = "embedded";

/// The secret that belongs to [`ACCESS_KEY_ID`].
pub const SECRET_ACCESS_KEY: &str = "embedded";

/// Where the embedded cloud lives and what it holds.
#[derive(Clone)]
pub struct EmbeddedSettings {
    /// The folder; it is created, for its owner alone, where it is missing.
    pub folder: PathBuf,
    /// Name of the table: 3 to 255 of `[A-Za-z0-9_.-]`.
    pub table: String,
    /// Name of the bucket, as S3 allows them.
    pub bucket: String,
    /// Name of the bus.
    pub bus: String,
    /// Where the time of objects, events and expiry comes from.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for EmbeddedSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("EmbeddedSettings")
            .field("folder", &self.folder)
            .field("table", &self.table)
            .field("bucket", &self.bucket)
            .field("bus", &self.bus)
            .finish_non_exhaustive()
    }
}

/// An open embedded cloud. Clones share it; its threads end with the last one.
#[derive(Clone, Debug)]
pub struct EmbeddedCloud {
    engines: Arc<Engines>,
    housekeeper: Arc<Housekeeper>,
}

impl EmbeddedCloud {
    /// Opens the cloud in `settings.folder` and creates what is missing of folder, table, bucket and
    /// bus. It touches the disk for a few milliseconds and needs no runtime.
    ///
    /// # Errors
    /// `NOT_SUPPORTED` for a folder of a newer version; `AWS_UNAVAILABLE` where the folder cannot be
    /// written, the disk is full, or another process holds it for longer than 5 s;
    /// `INVALID_PARAMETER` for a name that AWS would not take.
    pub fn open(settings: EmbeddedSettings) -> Result<Self, Error> {
        let folder = Arc::new(Folder::open(&settings.folder)?);
        // One process at a time creates and migrates, so that none meets a half-made database.
        let opening = folder.open_lock()?;
        folder.check_format()?;
        let dynamodb = Dynamo::open(&folder, &settings.table)?;
        let objects = Arc::new(ObjectStore::open(
            &folder,
            &settings.bucket,
            Arc::clone(&settings.clock),
        )?);
        let states = States::open(&folder, settings.table.clone(), Arc::clone(&settings.clock))?;
        drop(opening);
        let sns = Sns::open(&folder, Arc::clone(&settings.clock))?;
        let secrets = Secrets::open(&folder, Arc::clone(&settings.clock))?;
        let faults = Faults::default();
        let housekeeper = Arc::new(Housekeeper::start(
            folder,
            Arc::clone(&objects),
            states.upkeep(),
            sns.mails(),
            settings.table,
            Arc::clone(&settings.clock),
        ));
        let engines = Arc::new(Engines {
            dynamodb,
            s3: s3::service(objects),
            eventbridge: EventBridge::new(settings.bus, settings.clock),
            states,
            sns,
            secrets,
            faults,
        });
        engines.states.set_engines(Arc::downgrade(&engines));
        Ok(Self {
            engines,
            housekeeper,
        })
    }

    /// The HTTP client that SDK clients of DynamoDB, S3, EventBridge, SNS, Step Functions, Secrets Manager
    /// and STS run on. It needs region [`REGION`], the static credentials [`ACCESS_KEY_ID`] and [`SECRET_ACCESS_KEY`], and
    /// path-style addressing for S3.
    pub fn http_client(&self) -> SharedHttpClient {
        SharedHttpClient::new(Connector::new(Arc::clone(&self.engines)))
    }

    /// A handle by which a test makes calls fail.
    pub fn faults(&self) -> Faults {
        self.engines.faults.clone()
    }

    /// How many events the bus has taken since this process opened the cloud.
    pub fn events_taken(&self) -> u64 {
        self.engines.eventbridge.taken()
    }

    /// Hands every event that the bus takes from now on to `sink`; `false` where there is one already.
    pub fn set_event_sink(&self, sink: Arc<dyn EventSink>) -> bool {
        self.engines.eventbridge.set_sink(sink)
    }

    /// Has tools called for the tasks of workflows by `tools`; `false` where that is settled already. From now
    /// on workflows that another process left behind are taken over. Within a runtime.
    pub fn set_tool_caller(&self, tools: Arc<dyn ToolCaller>) -> bool {
        self.engines.states.set_tools(tools)
    }

    /// Begins no more steps of workflows; another process goes on with them, or the next one. Steps that are
    /// under way have a second to end. Within a runtime.
    pub async fn stop_workflows(&self) {
        self.engines.states.stop().await;
    }

    /// Takes one bounded step of what else happens in the background every minute: expired rows, forgotten
    /// files and uploads, old mails, executions of workflows that ended long ago, the size of the journals. It
    /// blocks for some milliseconds. Nothing is swept while another process does it.
    ///
    /// # Errors
    /// `AWS_UNAVAILABLE` where the folder cannot be written.
    pub fn sweep(&self) -> Result<Swept, Error> {
        self.housekeeper.step()
    }
}
