//! Servers that are child processes: what may be started, in what environment, and how it ends.

mod environment;
pub mod folder;
mod grants;
mod lines;
mod pipe;
mod plan;
mod process;
#[cfg(target_os = "linux")]
pub mod stage;
#[cfg(target_os = "linux")]
pub mod warden;
#[cfg(target_os = "linux")]
mod wire;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use futures::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use tokio::task::spawn_blocking;

use crate::mesh::integration::reference::FOLDER;
use crate::mesh::integration::template::DEFAULT_PORTS;
use crate::mesh::integration::{ServiceId, Templates};
use crate::mesh::store::Reply;
use crate::mesh::tenant::TenantId;
use crate::mesh::upstream::{ConnectionKey, ConnectionPlan, ConnectionTarget};
use crate::mesh::{Clock, Error, ErrorKind};
use crate::platform::{self, Sandbox, SandboxRules};

use super::link::{Links, Opened};
use folder::{ChildRecord, WorkingFolder};
use plan::{Failure, Plan};
use process::{Process, StartError};
use words::LastWords;

pub use plan::{STAGE_COMMAND, WARDEN_COMMAND};

/// The most arguments of a command.
pub const ARGUMENTS_MAX: usize = 256;

/// The longest argument, in bytes: less than what systems take.
pub const ARGUMENT_BYTES_MAX: usize = 64 << 10;

/// What an operator does where the kernel cannot hold children to their rules.
const SANDBOX_FIX: &str = "The operator has to run the server on Linux 6.12 or later with Landlock and \
                           seccomp; `use_aws_mcp doctor` says what is missing.";

/// What children may be and where they live.
#[derive(Clone)]
pub struct ChildSettings {
    /// This program: children are started through its hidden commands.
    pub executable: PathBuf,
    /// The folder of the children's working folders, absolute. It is made when the first child needs it.
    pub folder: PathBuf,
    /// The operator's list of commands, each with the program that it stands for where there is one; nothing
    /// under token identities, which may have templates alone.
    pub commands: Option<BTreeMap<String, Option<PathBuf>>>,
    /// The operator's templates.
    pub templates: Templates,
    /// Further folders that every child may read.
    pub readable: Vec<PathBuf>,
    /// What no child may read, whatever else is allowed: our data, the outbox, files of settings.
    pub private: Vec<PathBuf>,
    /// The user's home folder, which no program brings with it.
    pub home: Option<PathBuf>,
    /// `PATH` of the children.
    pub search_path: String,
    /// `LANG` and `LC_*` of the children.
    pub locale: BTreeMap<String, String>,
    /// What tells the time.
    pub clock: Arc<dyn Clock>,
}

/// Opens links to child processes.
pub struct ChildLinks {
    settings: Arc<ChildSettings>,
    swept: Once,
    told: Once,
}

/// A program with everything that it is started with.
struct Start {
    program: PathBuf,
    args: Vec<SecretString>,
    env: BTreeMap<String, SecretString>,
    readable: Vec<PathBuf>,
    writable: Vec<PathBuf>,
    ports: Vec<u16>,
}

/// The folder of children's working folders within the folder of all data.
pub fn children_folder(data_dir: &Path) -> PathBuf {
    data_dir.join("children")
}

impl ChildLinks {
    /// Children by these settings.
    pub fn new(settings: ChildSettings) -> Self {
        Self {
            settings: Arc::new(settings),
            swept: Once::new(),
            told: Once::new(),
        }
    }

    /// What is to be started for `target`.
    fn start_of(&self, target: &ConnectionTarget) -> Result<Start, Error> {
        self.check(target)?;
        match target {
            ConnectionTarget::Command { command, args, env } => Ok(Start {
                program: self.command(command)?,
                args: args.clone(),
                env: env.clone(),
                readable: Vec::new(),
                writable: Vec::new(),
                ports: DEFAULT_PORTS.to_vec(),
            }),
            ConnectionTarget::Template {
                template,
                slots,
                env,
            } => {
                let template = self.template(template)?;
                let args = template.arguments(slots)?;
                Ok(Start {
                    program: template.program.clone(),
                    args: args.into_iter().map(SecretString::from).collect(),
                    env: env.clone(),
                    readable: template.paths.clone(),
                    writable: template.writable.clone(),
                    ports: template.ports.clone(),
                })
            }
            ConnectionTarget::Remote { .. } => Err(not_a_child()),
        }
    }

    /// The program of a command on the operator's list, by the name in the list or by what that stands for.
    fn command(&self, command: &str) -> Result<PathBuf, Error> {
        let Some(listed) = &self.settings.commands else {
            return Err(Error::new(
                ErrorKind::NotSupported,
                "commands cannot be registered where callers are known by their tokens",
            )
            .fix("Use one of the operator's templates: `template` instead of `command`."));
        };
        let found = match listed.get(command) {
            Some(found) => Some(found),
            None => listed
                .values()
                .find(|program| program.as_deref() == Some(Path::new(command))),
        };
        match found {
            Some(Some(program)) => Ok(program.clone()),
            Some(None) => Err(Error::new(
                ErrorKind::NotSupported,
                "the command is on the operator's list, but this machine has no such program",
            )
            .fix("Install it, or correct AGENT_MESH_ALLOWED_COMMANDS, and start the server anew.")),
            None => Err(Error::new(
                ErrorKind::NotSupported,
                "the command is not on the operator's list",
            )
            .fix("Add it to AGENT_MESH_ALLOWED_COMMANDS and start the server anew.")
            .detail("parameter", "command")),
        }
    }

    fn template(&self, id: &str) -> Result<&crate::mesh::integration::Template, Error> {
        self.settings.templates.get(id).ok_or_else(|| {
            let known: Vec<&str> = self.settings.templates.keys().map(String::as_str).collect();
            let fix = match known.as_slice() {
                [] => {
                    "The operator has none; AGENT_MESH_TEMPLATES_FILE names their file.".to_owned()
                }
                known => format!("Use one of the operator's templates: {}.", known.join(", ")),
            };
            Error::invalid("template", "there is no such template").fix(fix)
        })
    }

    /// Whether children must be held to all their rules: callers who are known by tokens do not trust each
    /// other.
    fn sandbox_needed(&self) -> bool {
        self.settings.commands.is_none()
    }

    async fn open_link(&self, plan: &ConnectionPlan) -> Result<Opened, Error> {
        let start = self.start_of(&plan.target)?;
        let settings = Arc::clone(&self.settings);
        let sandbox_needed = self.sandbox_needed();
        let sweeps = !self.swept.is_completed();
        let (key, secrets) = (plan.key.clone(), plan.secrets.clone());
        let prepared = spawn_blocking(move || {
            if sweeps {
                folder::sweep(&settings.folder);
            }
            Prepared::new(start, &key, &settings, sandbox_needed)
        });
        let prepared = prepared.await.map_err(|error| no_folder(error.into()))?;
        self.swept.call_once(|| {});
        let Prepared {
            start,
            mut working,
            mut record,
            plan,
        } = prepared.map_err(no_folder)?;
        let process = process::start(&self.settings.executable, &plan)
            .await
            .map_err(|error| not_started(error, &start.program))?;
        drop(plan);
        working.leave_to_warden();
        record.warden = process.warden.and_then(folder::Process::find);
        record.child = Some(process.id);
        if working.write(&record).is_err() {
            tracing::warn!("the record of a child could not be written");
        }
        self.tell_gaps(&process);
        let words = LastWords::new(secrets);
        Ok(pipe::link(process, Arc::new(words)))
    }

    /// Says once what children are not held to.
    fn tell_gaps(&self, process: &Process) {
        if let Some(gaps) = process.sandbox.gaps() {
            self.told.call_once(|| {
                tracing::warn!(
                    "the system does not hold the processes of integrations to their rules: {gaps}"
                );
            });
        }
    }
}

/// A child that can be started: its folder is there.
struct Prepared {
    start: Start,
    working: WorkingFolder,
    record: ChildRecord,
    plan: Plan,
}

impl Prepared {
    fn new(
        start: Start,
        key: &ConnectionKey,
        settings: &ChildSettings,
        sandbox_needed: bool,
    ) -> std::io::Result<Self> {
        let record = ChildRecord::new(key, &start.program, settings.clock.now());
        let working = WorkingFolder::create(&settings.folder, key, &record)?;
        let kept = working.kept.display().to_string();
        let in_place = |text: String| text.replace(FOLDER, &kept);
        let env = environment::whole(settings, &working.kept, &working.temporary, &start.env);
        let plan = Plan {
            program: start.program.clone(),
            args: exposed(&start.args).into_iter().map(in_place).collect(),
            env: env
                .into_iter()
                .map(|(name, value)| (name, in_place(value)))
                .collect(),
            folder: working.kept.clone(),
            temporary: working.temporary.clone(),
            record: working.record.clone(),
            rules: rules(&start, &working, settings),
            sandbox_needed,
        };
        Ok(Self {
            start,
            working,
            record,
            plan,
        })
    }
}

/// What the child may do.
fn rules(start: &Start, working: &WorkingFolder, settings: &ChildSettings) -> SandboxRules {
    let bounds = grants::Bounds {
        home: settings.home.as_deref(),
        private: &settings.private,
        search_path: &settings.search_path,
    };
    let mut readable = grants::system(&start.program, &bounds);
    readable.extend(start.readable.iter().chain(&settings.readable).cloned());
    let mut writable: Vec<PathBuf> = grants::devices().collect();
    writable.extend(start.writable.iter().cloned());
    writable.extend([working.kept.clone(), working.temporary.clone()]);
    SandboxRules {
        readable,
        writable,
        ports: start.ports.clone(),
    }
}

impl Links for ChildLinks {
    fn open<'a>(&'a self, plan: &'a ConnectionPlan) -> Reply<'a, Opened> {
        Box::pin(self.open_link(plan))
    }

    fn forget<'a>(&'a self, tenant: &'a TenantId, service: &'a ServiceId) -> BoxFuture<'a, ()> {
        let settings = Arc::clone(&self.settings);
        let (tenant, service) = (tenant.clone(), service.clone());
        Box::pin(async move {
            let forgotten =
                spawn_blocking(move || folder::forget(&settings.folder, &tenant, &service));
            let _ = forgotten.await;
        })
    }

    /// What a template's slots do not hold yet is no fault here; opening it is then refused.
    fn check(&self, target: &ConnectionTarget) -> Result<(), Error> {
        match target {
            ConnectionTarget::Command { command, args, env } => {
                self.command(command)?;
                check_arguments(args)?;
                environment::check_command(env)
            }
            ConnectionTarget::Template {
                template,
                slots,
                env,
            } => {
                let template = self.template(template)?;
                template.check(slots, env.keys().map(String::as_str))?;
                environment::check(env)?;
                if self.sandbox_needed() && !platform::sandbox_support().is_whole() {
                    return Err(not_held());
                }
                Ok(())
            }
            ConnectionTarget::Remote { .. } => Err(not_a_child()),
        }
    }
}

fn check_arguments(args: &[SecretString]) -> Result<(), Error> {
    if args.len() > ARGUMENTS_MAX {
        let message = format!("there are at most {ARGUMENTS_MAX} arguments");
        return Err(Error::invalid("args", message));
    }
    for arg in args {
        let arg = arg.expose_secret();
        if arg.len() > ARGUMENT_BYTES_MAX {
            let message = format!("an argument has at most {ARGUMENT_BYTES_MAX} bytes");
            return Err(Error::invalid("args", message));
        }
        if arg.contains('\0') {
            return Err(Error::invalid("args", "an argument holds no zero byte"));
        }
    }
    Ok(())
}

fn exposed(args: &[SecretString]) -> Vec<String> {
    args.iter()
        .map(|arg| arg.expose_secret().to_owned())
        .collect()
}

fn not_a_child() -> Error {
    Error::internal("a remote server was asked of what starts children")
}

fn not_held() -> Error {
    Error::new(
        ErrorKind::NotSupported,
        "this server cannot keep the program from other tenants' data, so it does not start it",
    )
    .fix(SANDBOX_FIX)
}

fn no_folder(error: std::io::Error) -> Error {
    Error::new(
        ErrorKind::UpstreamUnavailable,
        "the program has no folder to work in",
    )
    .fix("The operator has to look at the space and the rights of the data folder.")
    .not_done()
    .caused_by(error)
}

fn not_started(error: StartError, program: &Path) -> Error {
    let unavailable =
        |message: &str| Error::new(ErrorKind::UpstreamUnavailable, message).not_done();
    match error {
        StartError::Refused(Failure::Sandbox(_)) => not_held(),
        StartError::Refused(Failure::Program(code)) => {
            let name = program.file_name().unwrap_or_default().to_string_lossy();
            let cause = match code {
                Some(code) => std::io::Error::from_raw_os_error(code),
                None => std::io::Error::other("unknown"),
            };
            unavailable(&format!("{name} could not be run: {}", cause.kind()))
                .fix("The operator has to see that the program is there and may be run.")
                .caused_by(cause)
        }
        StartError::Refused(Failure::Other(message)) => {
            unavailable("the program could not be started")
                .caused_by(std::io::Error::other(message))
        }
        StartError::System(error) => {
            unavailable("the program could not be started").caused_by(error)
        }
        StartError::TooSlow => unavailable("the program took too long to start"),
    }
}

/// What children are held to on this machine.
pub fn sandbox_support() -> Sandbox {
    platform::sandbox_support()
}
