//! What a child's warden and the child's first stage are told, and what they report: over a socket, never in arguments.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::platform::{Sandbox, SandboxRules};

/// The hidden command that starts a warden.
pub const WARDEN_COMMAND: &str = "child-warden";

/// The hidden command that becomes the child.
pub const STAGE_COMMAND: &str = "child-exec";

/// The largest plan or report, in bytes: the arguments and the environment that a program may be given.
pub(super) const FRAME_BYTES_MAX: usize = 4 << 20;

/// How long a child has from SIGTERM to SIGKILL.
pub(super) const GRACE: Duration = Duration::from_millis(700);

/// A child as it is to be. It holds secrets, so it has no `Debug`.
#[derive(Serialize, Deserialize)]
pub(super) struct Plan {
    /// The program, absolute.
    pub(super) program: PathBuf,
    /// Its arguments.
    pub(super) args: Vec<String>,
    /// All of its environment.
    pub(super) env: BTreeMap<String, String>,
    /// Its working folder, kept when it ends.
    pub(super) folder: PathBuf,
    /// Its temporary folder, removed when it ends.
    pub(super) temporary: PathBuf,
    /// The record of it, removed after the temporary folder.
    pub(super) record: PathBuf,
    /// What it may do.
    pub(super) rules: SandboxRules,
    /// Whether it must not start where the rules cannot be enforced as a whole.
    pub(super) sandbox_needed: bool,
}

/// What a child's first stage and its warden report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    /// The first stage has done its part, and becomes the program.
    Started {
        /// Its id.
        process: u32,
        /// What it is held to.
        sandbox: Sandbox,
    },
    /// The first stage is no more: the program runs, unless a failure was reported.
    Running,
    /// It could not be started.
    Failed(Failure),
    /// It has ended.
    Ended(Ended),
}

/// Why a child could not be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Failure {
    /// The rules that it needs cannot be enforced here.
    Sandbox(Sandbox),
    /// The program could not be run: the system's number of the error.
    Program(Option<i32>),
    /// Something else: for the log.
    Other(String),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ended {
    /// Its status, where it ended by itself.
    pub(super) code: Option<i32>,
    /// The signal that ended it.
    pub(super) signal: Option<i32>,
}

impl fmt::Display for Ended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(formatter, "ended with status {code}"),
            (None, Some(signal)) => write!(formatter, "was ended by signal {signal}"),
            (None, None) => formatter.write_str("has ended"),
        }
    }
}

/// The bytes of `value` on the socket: their number in four bytes, then JSON.
pub(super) fn frame(value: &impl Serialize) -> std::io::Result<Vec<u8>> {
    let body = serde_json::to_vec(value)?;
    let length = u32::try_from(body.len())
        .ok()
        .filter(|_| body.len() <= FRAME_BYTES_MAX)
        .ok_or_else(|| std::io::Error::other("the arguments and the environment are too large"))?;
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(body);
    Ok(bytes)
}

/// How long the frame is that begins with these four bytes.
pub(super) fn frame_length(head: [u8; 4]) -> std::io::Result<usize> {
    usize::try_from(u32::from_le_bytes(head))
        .ok()
        .filter(|length| *length <= FRAME_BYTES_MAX)
        .ok_or_else(|| std::io::Error::other("the frame is too large"))
}
