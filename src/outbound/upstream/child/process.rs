//! A child process as the server holds it: its pipes, and a leash that ends it when it is let go.

use std::path::Path;

use tokio::process::{ChildStderr, ChildStdout};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::plan::{Ended, Failure, Plan};
use crate::platform::Sandbox;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod portable;

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(not(target_os = "linux"))]
use portable as system;

/// The pipe into the child.
pub(super) type Input = system::Input;

/// A child that runs.
pub(super) struct Process {
    /// Its id.
    pub(super) id: u32,
    /// Its warden's id, where it has one.
    pub(super) warden: Option<u32>,
    /// What it is held to.
    pub(super) sandbox: Sandbox,
    /// Its standard input.
    pub(super) input: Input,
    /// Its standard output.
    pub(super) output: ChildStdout,
    /// Its standard error.
    pub(super) errors: ChildStderr,
    /// How it stands.
    pub(super) fate: watch::Receiver<Fate>,
    /// Let go, it has the child ended with all that it has started.
    pub(super) leash: DropGuard,
}

/// How a child stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It runs.
    Running,
    /// It has ended; what it has started may still be there.
    Ended(Ended),
    /// Nothing of it is left.
    Gone(Option<Ended>),
}

impl Fate {
    /// How it ended, where that is known.
    pub(super) const fn ended(self) -> Option<Ended> {
        match self {
            Self::Running => None,
            Self::Ended(ended) => Some(ended),
            Self::Gone(ended) => ended,
        }
    }
}

/// Why a child was not started.
#[derive(Debug)]
pub(super) enum StartError {
    /// It, or its warden, said so.
    Refused(Failure),
    /// The system did.
    System(std::io::Error),
    /// It took longer than it may.
    TooSlow,
}

impl From<std::io::Error> for StartError {
    fn from(error: std::io::Error) -> Self {
        Self::System(error)
    }
}

/// Starts the child of `plan`; what is left of it when it ends is removed, whatever becomes of the server.
///
/// # Errors
/// It does not run, and nothing of it is left, or soon will be.
pub(super) async fn start(executable: &Path, plan: &Plan) -> Result<Process, StartError> {
    let leash = CancellationToken::new();
    system::start(executable, plan, leash).await
}
