//! The embedded Step Functions: state machines of the folder, read and run in it.
//!
//! Where an execution stands is written down before each step that has an effect, and what came of the step
//! right after it. So when a process dies, another one, or the next, goes on from there: what was answered is
//! not asked again, and only the step under way is taken once more.

mod api;
pub(crate) mod asl;
mod check;
pub(super) mod definition;
mod disk;
mod event;
mod execution;
mod frame;
mod integration;
mod interpreter;
mod journal;
pub(crate) mod name;
mod owner;
mod runner;
mod schema;
mod store;
mod tracker;
mod work;

use std::sync::{Arc, Weak};
use std::time::Duration;

pub use check::{Checked, FlawFound, ToolState, WorkflowFiles};

use super::connector::Engines;
use super::folder::Folder;
use super::wire::Answer;
use crate::mesh::workflow::ToolCaller;
use crate::mesh::{Clock, Error, Timestamp};
use definition::Definitions;
use disk::Disk;
use integration::Integrations;
use runner::Runner;
use store::Whose;

/// How long an execution that has ended is kept, and its name taken, as AWS has it.
const KEPT_FOR: Duration = Duration::from_hours(24 * 90);

/// The engine of one folder.
#[derive(Debug)]
pub(super) struct States {
    runner: Arc<Runner>,
    integrations: Arc<Integrations>,
}

impl States {
    /// The engine of `folder`, whose machines may use the table of that name. Nothing runs yet.
    pub(super) fn open(
        folder: &Folder,
        table: String,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let integrations = Arc::new(Integrations::new(table));
        let runner = Runner::new(
            Disk::open(folder)?,
            clock,
            Definitions::new(folder.workflows_path()),
            Arc::clone(&integrations) as _,
            folder.workflow_owners_path(),
        );
        Ok(Self {
            runner,
            integrations,
        })
    }

    /// The operation of that name, or the empty name where there is none of it here.
    pub(super) fn operation(name: &str) -> &'static str {
        api::operation(name)
    }

    /// The answer to any operation. Within a runtime.
    pub(super) async fn answer(&self, operation: &str, body: &[u8]) -> Answer {
        api::answer(&self.runner, operation, body).await
    }

    /// The engines that tasks use.
    pub(super) fn set_engines(&self, engines: Weak<Engines>) {
        self.integrations.set_engines(engines);
    }

    /// Who calls tools for tasks; `false` where that is known already. From now on executions that another
    /// process left behind are taken over, as far as their tenants may call here. Within a runtime.
    pub(super) fn set_tools(&self, tools: Arc<dyn ToolCaller>) -> bool {
        self.runner.run_only(Whose::of(tools.only_tenant()));
        let is_first = self.integrations.set_tools(tools);
        self.runner.look_from_now_on();
        is_first
    }

    /// Begins no more steps, and leaves what runs to whoever comes next. Steps under way have a second to end.
    pub(super) async fn stop(&self) {
        self.runner.stop().await;
    }

    /// What of the engine is swept in the background.
    pub(super) fn upkeep(&self) -> Upkeep {
        Upkeep(Arc::clone(&self.runner.disk))
    }
}

impl Drop for States {
    fn drop(&mut self) {
        self.runner.cut();
    }
}

/// Sweeps executions that ended long ago.
#[derive(Debug)]
pub(super) struct Upkeep(Arc<Disk>);

impl Upkeep {
    /// Takes one bounded step: how many executions were deleted. With `cut` the journal is emptied into the
    /// file too. What fails is logged and left to the next step. It blocks.
    pub(super) fn step(&self, now: Timestamp, cut: bool) -> usize {
        if !self.0.exists() {
            return 0;
        }
        let before = now.minus(KEPT_FOR);
        let step = self.0.write(move |connection| {
            let swept = store::sweep(connection, before)?;
            if cut {
                connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            }
            Ok(swept)
        });
        futures::executor::block_on(step).unwrap_or_else(|fault| {
            tracing::warn!(%fault, "the executions of workflows were not swept");
            0
        })
    }
}

#[cfg(test)]
mod tests;
