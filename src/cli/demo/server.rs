//! The server of the demonstration: this program as a child process, with nothing of the caller's environment.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use super::client::Client;
use super::token::{AUDIENCE, ISSUER, Signer};
use crate::config::Environment;

/// How long a server may take to end by itself: its own limit and some time for a busy machine.
const END_TIME_MAX: Duration = Duration::from_secs(10);

/// How long the end of the log of a server that has failed is waited for.
const LOG_TIME_MAX: Duration = Duration::from_secs(2);

/// How much of a server's log is kept, in bytes.
const LOG_BYTES_MAX: usize = 64 << 10;

/// How the server is started.
pub(super) struct ServerSettings {
    program: PathBuf,
    folder: PathBuf,
    variables: Vec<(&'static str, OsString)>,
}

/// A server that runs, and the client that is connected to it.
pub(super) struct Server {
    child: Child,
    client: Client,
}

/// The end of what the server has written to its log.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<VecDeque<u8>>>);

impl ServerSettings {
    /// A server that keeps all it has under `folder`, where its keys and tenants are.
    pub(super) fn new(program: PathBuf, folder: &Path, environment: &Environment) -> Self {
        let inside = |name: &str| folder.join(name).into_os_string();
        let mut variables = vec![
            ("AGENT_MESH_BACKEND", "embedded".into()),
            ("AGENT_MESH_DATA_DIR", inside("data")),
            ("AGENT_MESH_IDENTITY", "jwt".into()),
            ("AGENT_MESH_JWKS", inside("keys.json")),
            ("AGENT_MESH_JWT_ISSUER", ISSUER.into()),
            ("AGENT_MESH_JWT_AUDIENCE", AUDIENCE.into()),
            ("AGENT_MESH_TENANTS_FILE", inside("tenants.toml")),
            ("LOG_LEVEL", "warn".into()),
        ];
        // Windows cannot make a socket or a random number without it.
        if let Some(root) = environment.get("SystemRoot") {
            variables.push(("SystemRoot", root.into()));
        }
        Self {
            program,
            folder: folder.to_owned(),
            variables,
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

impl Server {
    /// Starts a server and shakes hands with it. What it writes to its log is kept in `log`.
    pub(super) async fn start(
        settings: &ServerSettings,
        signer: &Signer,
        log: &Log,
    ) -> Result<Self, String> {
        let mut child = settings.command().spawn().map_err(|error| {
            format!("{} cannot be started: {error}", settings.program.display())
        })?;
        let pipes = (child.stdout.take(), child.stdin.take(), child.stderr.take());
        let (Some(stdout), Some(stdin), Some(stderr)) = pipes else {
            return Err("the server has no pipes".to_owned());
        };
        let keeping = tokio::spawn(log.clone().keep(stderr));
        let client = match Client::connect(stdout, stdin, signer.clone()).await {
            Ok(client) => client,
            Err(message) => {
                // The log tells why, once all of it has come.
                let ended = async { (child.kill().await, keeping.await) };
                let _ = timeout(LOG_TIME_MAX, ended).await;
                return Err(message);
            }
        };
        Ok(Self { child, client })
    }

    /// The client that is connected to it.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// What it is known by to the system.
    pub(super) fn process_id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Ends it at once, in the middle of whatever it does.
    pub(super) async fn kill(mut self) -> Result<(), String> {
        self.child
            .kill()
            .await
            .map_err(|error| format!("it cannot be killed: {error}"))?;
        self.client.close().await;
        Ok(())
    }

    /// Closes the pipe, as a client does that quits, and waits until the server has ended by itself.
    pub(super) async fn leave(mut self) -> Result<ExitStatus, String> {
        self.client.close().await;
        match timeout(END_TIME_MAX, self.child.wait()).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(error)) => Err(format!("it cannot be waited for: {error}")),
            Err(_) => Err(format!(
                "it has not ended within {} s",
                END_TIME_MAX.as_secs()
            )),
        }
    }
}

impl Log {
    /// What there is of it.
    pub(super) fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (front, back) = bytes.as_slices();
        String::from_utf8_lossy(&[front, back].concat()).into_owned()
    }

    async fn keep(self, mut stderr: ChildStderr) {
        let mut chunk = vec![0; 4096];
        while let Ok(count) = stderr.read(&mut chunk).await
            && count > 0
        {
            let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            bytes.extend(chunk.iter().take(count));
            let excess = bytes.len().saturating_sub(LOG_BYTES_MAX);
            bytes.drain(..excess);
        }
    }
}
