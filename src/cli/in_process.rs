//! Calls in this process, by the same path as a client's: tenant, permission, limits, outbox, event.

use std::time::Duration;

use tokio::runtime::Runtime;
use ulid::Ulid;

use super::{ExitStatus, Output, runtime, tell};
use crate::app::App;
use crate::config::Config;
use crate::inbound::tool::{self, CallFault, Reply};
use crate::mesh::call::request::Request;
use crate::mesh::call::tool::Tool;
use crate::mesh::store::SecretStore;
use crate::mesh::tenant::{IdentityError, Presented, TenantContext};

/// How long a command waits at its end for its events to be published; the rest stays in the outbox.
const CLOSE_TIME_MAX: Duration = Duration::from_millis(4700);

/// How long work that does not heed its cancellation may hold up the end of the command.
const STRAGGLERS_TIME_MAX: Duration = Duration::from_millis(100);

/// The server, opened for the calls of one command.
pub(super) struct InProcess(App);

impl InProcess {
    /// Opens the server of `config`, does `work` with it and closes it; what could not be opened is told.
    pub(super) fn run(
        config: &Config,
        output: &mut Output,
        work: impl AsyncFnOnce(&Self, &mut Output) -> ExitStatus,
    ) -> ExitStatus {
        let runtime: Runtime = match runtime() {
            Ok(runtime) => runtime,
            Err(error) => {
                output.error(&format!("the runtime could not be started: {error}"));
                return ExitStatus::Failure;
            }
        };
        let status = runtime.block_on(async {
            match App::open(config).await {
                Ok(app) => {
                    let opened = Self(app);
                    let status = work(&opened, output).await;
                    opened.0.close(CLOSE_TIME_MAX).await;
                    status
                }
                Err(error) => {
                    tell(&error, output);
                    ExitStatus::Failure
                }
            }
        });
        runtime.shutdown_timeout(STRAGGLERS_TIME_MAX);
        status
    }

    /// Whether `tool` is offered under the settings.
    pub(super) fn offers(&self, tool: Tool) -> bool {
        self.0.shared().catalog.offers(tool)
    }

    /// Who the settings say that calls.
    ///
    /// # Errors
    /// Nobody, or somebody of a tenant that may not.
    pub(super) async fn caller(&self) -> Result<TenantContext, IdentityError> {
        let backplane = &self.0.shared().backplane;
        let now = backplane.clock.now();
        backplane.resolver.resolve(&Presented::default(), now).await
    }

    /// The secret store.
    pub(super) fn secret_store(&self) -> &dyn SecretStore {
        &*self.0.shared().backplane.secrets
    }

    /// Calls `tool` as the user whom the settings name. The id is that of the request in its event.
    ///
    /// # Errors
    /// A [`CallFault`] where no tool could run.
    pub(super) async fn call(
        &self,
        tool: Tool,
        arguments: &str,
    ) -> (Ulid, Result<Reply, CallFault>) {
        let request = Request::new(Presented::default());
        let id = request.id;
        let backplane = &self.0.shared().backplane;
        (
            id,
            tool::call(backplane, tool, request, Some(arguments)).await,
        )
    }
}

/// Why no tool ran, and what to do about it.
pub(super) fn tell_fault(fault: &CallFault, output: &mut Output) {
    let fix = match fault {
        CallFault::Identity(IdentityError::Missing) => Some(
            "under identity jwt only requests with a token are answered; to call as yourself, \
             set AGENT_MESH_IDENTITY=env",
        ),
        CallFault::Cursor(_) => {
            Some("leave the cursor out, or pass the one that the last page gave")
        }
        CallFault::Identity(_) => None,
    };
    super::tell_text(&fault.to_string(), None, fix, output);
}
