//! Which other servers may be reached, and what their processes may do: commands, templates, folders, addresses.

pub mod templates;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::check;
use super::environment::Environment;
use super::jwt::existing_file;
use super::setting::{
    ALLOW_LOOPBACK_HTTP, ALLOWED_COMMANDS, CHILD_PATHS, EGRESS_ALLOW, Setting, TEMPLATES_FILE,
};
use super::source::{Reader, absolute};
use crate::mesh::integration::{EgressRule, InvalidEgressRule, Templates};

/// The most commands, folders or addresses that one setting may list.
pub const LISTED_MAX: usize = 256;

/// The search path of children where this process has none.
const DEFAULT_SEARCH_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Which other servers may be reached, and what their processes may do.
#[derive(Clone, Debug, Default)]
pub struct IntegrationSettings {
    /// The commands that an admin may register, as they are written, each with the program that it stands
    /// for; nothing where there is none.
    pub allowed_commands: BTreeMap<String, Option<PathBuf>>,
    /// The operator's templates.
    pub templates: Templates,
    /// Further folders that children may read, absolute.
    pub child_paths: Vec<PathBuf>,
    /// Hosts, addresses and networks that may be reached besides public ones.
    pub egress_allow: Vec<EgressRule>,
    /// Whether plain http to this machine is allowed.
    pub allow_loopback_http: bool,
    /// `PATH` of children: this process's own, absolute folders only.
    pub search_path: String,
    /// `LANG` and `LC_*` of this process, which children get too.
    pub locale: BTreeMap<String, String>,
    /// The user's home folder.
    pub home: Option<PathBuf>,
    /// What no child may read: the folders of the data and of the outbox, and files of settings.
    pub private: Vec<PathBuf>,
}

impl IntegrationSettings {
    /// `private` is what no child may ever read: the folders of the data and of the outbox.
    pub(crate) fn read(
        reader: &mut Reader,
        environment: &Environment,
        private: &[&Path],
        warnings: &mut Vec<String>,
    ) -> Self {
        let search_path = search_path(environment);
        let commands = reader.read(&ALLOWED_COMMANDS, Vec::new(), commands);
        let templates_file = reader.read_path(&TEMPLATES_FILE, None, existing_file);
        let child_paths = reader.read_from(&CHILD_PATHS, Paths::default(), |text, source| {
            let paths = listed(text)?;
            let paths = paths.iter().map(|path| absolute(environment, path, source));
            Paths::checked(paths.collect(), private)
        });
        warnings.extend(child_paths.0.iter().filter_map(|path| {
            let shown = path.display();
            let message = format!("{} names {shown}, which is not there", CHILD_PATHS.variable);
            (!path.exists()).then_some(message)
        }));
        let egress_allow = reader.read(&EGRESS_ALLOW, Vec::new(), egress);
        let allow_loopback_http = reader.read(&ALLOW_LOOPBACK_HTTP, false, check::switch);
        let allowed_commands = commands
            .into_iter()
            .map(|command| {
                let found = find(&command, &search_path);
                if found.is_none() {
                    warnings.push(not_found(&ALLOWED_COMMANDS, &command));
                }
                (command, found)
            })
            .collect();
        let templates = match &templates_file {
            None => Templates::default(),
            Some(path) => match templates::open(path, private, warnings) {
                Ok(templates) => templates,
                Err(errors) => {
                    reader.mistakes.append(errors);
                    Templates::default()
                }
            },
        };
        Self {
            allowed_commands,
            templates,
            child_paths: child_paths.0,
            egress_allow,
            allow_loopback_http,
            search_path,
            locale: locale(environment),
            home: environment.home.clone(),
            private: private
                .iter()
                .map(|path| path.to_path_buf())
                .chain(templates_file)
                .collect(),
        }
    }
}

/// Absolute folders and files, as one setting lists them.
#[derive(Default)]
struct Paths(Vec<PathBuf>);

impl Paths {
    fn checked(paths: Vec<PathBuf>, private: &[&Path]) -> Result<Self, String> {
        let wrong: Vec<String> = paths
            .iter()
            .filter_map(|path| shareable(path, private).err())
            .collect();
        if wrong.is_empty() {
            Ok(Self(paths))
        } else {
            Err(wrong.join("; "))
        }
    }
}

impl super::source::Shown for Paths {
    fn shown(&self) -> Option<String> {
        let texts: Vec<String> = self
            .0
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        texts.shown()
    }
}

/// Whether children may be given `path`: it neither holds nor lies in what is private.
pub(crate) fn shareable(path: &Path, private: &[&Path]) -> Result<(), String> {
    let shown = path.display();
    let found = resolved(path);
    for folder in private {
        // One that is not there yet is what its nearest folder that is there says.
        let held = resolved(folder);
        if held.starts_with(&found) || found.starts_with(&held) {
            return Err(format!(
                "{shown} and {}, which holds what no child may see, are within each other; \
                 name the folders that are needed one by one, or move the data",
                folder.display()
            ));
        }
    }
    Ok(())
}

/// `path` without links, as far as it is there.
fn resolved(path: &Path) -> PathBuf {
    let known = path
        .ancestors()
        .find_map(|ancestor| Some((ancestor, ancestor.canonicalize().ok()?)));
    match known {
        Some((ancestor, found)) => match path.strip_prefix(ancestor) {
            Ok(rest) if !rest.as_os_str().is_empty() => found.join(rest),
            _ => found,
        },
        None => path.to_owned(),
    }
}

/// The program that `command` stands for: the file at an absolute path, else the first in `search_path`.
pub(crate) fn find(command: &str, search_path: &str) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| path.is_file() && may_run(path);
    if Path::new(command).is_absolute() {
        return Some(PathBuf::from(command)).filter(is_program);
    }
    std::env::split_paths(search_path)
        .map(|folder| folder.join(command))
        .find(is_program)
}

#[cfg(unix)]
fn may_run(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn may_run(_path: &Path) -> bool {
    true
}

/// What to say of a command that stands for no program.
fn not_found(setting: &Setting, command: &str) -> String {
    format!(
        "{} names {command}, and there is no such program; it cannot be started",
        setting.variable
    )
}

/// The absolute folders of this process's `PATH`.
fn search_path(environment: &Environment) -> String {
    let folders = environment.get("PATH").unwrap_or(DEFAULT_SEARCH_PATH);
    let absolute = std::env::split_paths(folders).filter(|folder| folder.is_absolute());
    std::env::join_paths(absolute)
        .ok()
        .and_then(|joined| joined.into_string().ok())
        .filter(|joined| !joined.is_empty())
        .unwrap_or_else(|| DEFAULT_SEARCH_PATH.to_owned())
}

fn locale(environment: &Environment) -> BTreeMap<String, String> {
    environment
        .variables
        .iter()
        .filter(|(name, value)| {
            (*name == "LANG" || *name == "LANGUAGE" || name.starts_with("LC_")) && !value.is_empty()
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn listed(text: &str) -> Result<Vec<String>, String> {
    let items = check::list(text)?;
    if items.len() > LISTED_MAX {
        return Err(format!("it lists at most {LISTED_MAX} things"));
    }
    Ok(items)
}

/// Commands separated by commas: absolute paths, or names.
fn commands(text: &str) -> Result<Vec<String>, String> {
    let items = listed(text)?;
    let is_name = |item: &str| {
        !item.starts_with(['.', '-'])
            && item
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte))
    };
    let is_right = |item: &str| Path::new(item).is_absolute() || is_name(item);
    let wrong: Vec<String> = items
        .iter()
        .filter(|item| !is_right(item))
        .map(|item| format!("\"{item}\" is neither an absolute path nor the name of a program"))
        .collect();
    if wrong.is_empty() {
        Ok(items)
    } else {
        Err(wrong.join("; "))
    }
}

/// Hosts, addresses and networks separated by commas.
fn egress(text: &str) -> Result<Vec<EgressRule>, String> {
    let mut allowed = Vec::new();
    let mut wrong = Vec::new();
    for item in listed(text)? {
        match egress_rule(&item) {
            Ok(rule) if !allowed.contains(&rule) => allowed.push(rule),
            Ok(_) => {}
            Err(message) => wrong.push(format!("\"{item}\" {message}")),
        }
    }
    if wrong.is_empty() {
        Ok(allowed)
    } else {
        Err(wrong.join("; "))
    }
}

fn egress_rule(item: &str) -> Result<EgressRule, String> {
    // Bits behind the prefix mean that another network is wanted than the one that would be allowed.
    if let Ok(network) = item.parse::<IpNet>()
        && network.trunc() != network
    {
        return Err(format!("is no network; {} is", network.trunc()));
    }
    item.parse()
        .map_err(|error: InvalidEgressRule| error.to_string())
}

impl super::source::Shown for Vec<EgressRule> {
    fn shown(&self) -> Option<String> {
        let texts: Vec<String> = self.iter().map(EgressRule::to_string).collect();
        texts.shown()
    }
}

#[cfg(test)]
mod tests;
