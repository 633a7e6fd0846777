//! What the process was given by whoever started it: variables, folders, the login name.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

/// What a process finds around itself. Only [`Environment::of_process`] looks; everything else, tests
/// included, takes it from here.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// The variables. Empty ones count as unset.
    pub variables: BTreeMap<String, String>,
    /// Names of variables whose value is no UTF-8.
    pub undecodable: BTreeSet<String>,
    /// The user's home folder.
    pub home: Option<PathBuf>,
    /// Where programs of this user keep data.
    pub data_home: Option<PathBuf>,
    /// Where desktop programs of this user keep their settings.
    pub settings_home: Option<PathBuf>,
    /// The folder that relative paths start from.
    pub working_dir: PathBuf,
    /// The name the user logged in with.
    pub login_name: Option<String>,
    /// This program, as a path that will still be right after an upgrade where one is known.
    pub executable: Option<PathBuf>,
}

/// The words of this process's command line, the program's own name first.
pub fn arguments() -> impl Iterator<Item = OsString> {
    std::env::args_os()
}

impl Environment {
    /// What this process finds.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where the environment is read"
    )]
    pub fn of_process() -> Self {
        let (variables, undecodable) = decode(std::env::vars_os());
        let native = etcetera::base_strategy::choose_native_strategy().ok();
        let settings_home = native.as_ref().map(|native| {
            if cfg!(target_os = "macos") {
                native.data_dir()
            } else {
                native.config_dir()
            }
        });
        let mut environment = Self {
            variables,
            undecodable,
            home: etcetera::home_dir().ok(),
            data_home: etcetera::choose_base_strategy()
                .ok()
                .map(|base| base.data_dir()),
            settings_home,
            working_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            login_name: None,
            executable: None,
        };
        environment.login_name = environment.find_login_name();
        environment.executable = std::env::current_exe()
            .ok()
            .map(|path| environment.lasting_path(path));
        environment
    }

    /// The value of a variable; one that is empty or blank counts as unset.
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.variables.get(name)?.trim();
        (!value.is_empty()).then_some(value)
    }

    /// Whether output to a terminal may be coloured; `NO_COLOR` and a dumb terminal say no.
    pub fn allows_colour(&self) -> bool {
        self.get("NO_COLOR").is_none() && self.get("TERM") != Some("dumb")
    }

    /// `text` as an absolute path: `~/` is the home folder (whoever sets variables in a client's JSON has
    /// no shell to expand it), and a relative path starts from `base`.
    pub fn absolute(&self, text: &str, base: &Path) -> PathBuf {
        let rest = if text == "~" {
            Some("")
        } else {
            text.strip_prefix("~/")
        };
        match (rest, &self.home) {
            (Some(""), Some(home)) => home.clone(),
            (Some(rest), Some(home)) => home.join(rest),
            _ => base.join(text),
        }
    }

    /// The login name by the variables that shells and systems set, else by the system's list of users.
    fn find_login_name(&self) -> Option<String> {
        ["USER", "LOGNAME", "USERNAME"]
            .into_iter()
            .find_map(|name| self.get(name))
            .map(str::to_owned)
            .or_else(listed_user)
    }

    /// A path in `PATH` that leads to `executable`, rather than what it leads to: package managers put
    /// each version into a folder of its own and a link into `PATH`.
    fn lasting_path(&self, executable: PathBuf) -> PathBuf {
        let (Some(search), Some(name)) = (self.get("PATH"), executable.file_name()) else {
            return executable;
        };
        let Ok(target) = executable.canonicalize() else {
            return executable;
        };
        let lasting = std::env::split_paths(search)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(name))
            .find(|path| path.canonicalize().is_ok_and(|found| found == target));
        lasting.unwrap_or(executable)
    }
}

/// Splits variables into those that are UTF-8 and the names of those that are not.
fn decode(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> (BTreeMap<String, String>, BTreeSet<String>) {
    let mut decoded = BTreeMap::new();
    let mut undecodable = BTreeSet::new();
    for (name, value) in variables {
        let Ok(name) = name.into_string() else {
            continue;
        };
        match value.into_string() {
            Ok(value) => {
                decoded.insert(name, value);
            }
            Err(_) => {
                undecodable.insert(name);
            }
        }
    }
    (decoded, undecodable)
}

/// This process's user in `/etc/passwd`; services and containers often set no variable.
#[cfg(unix)]
fn listed_user() -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    user_in_list(&users, rustix::process::getuid().as_raw())
}

#[cfg(not(unix))]
fn listed_user() -> Option<String> {
    None
}

/// The name of user number `id` in a list of the form of `/etc/passwd`.
#[cfg(unix)]
fn user_in_list(users: &str, id: u32) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number: u32 = fields.nth(1)?.parse().ok()?;
        (number == id && !name.is_empty()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment {
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            home: Some("/home/ada".into()),
            ..Environment::default()
        }
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let environment = environment(&[("A", ""), ("B", "  "), ("C", " c ")]);
        assert_eq!(environment.get("A"), None);
        assert_eq!(environment.get("B"), None);
        assert_eq!(environment.get("C"), Some("c"));
    }

    #[test]
    fn no_color_and_a_dumb_terminal_switch_colour_off() {
        assert!(environment(&[]).allows_colour());
        assert!(environment(&[("NO_COLOR", "")]).allows_colour());
        assert!(!environment(&[("NO_COLOR", "1")]).allows_colour());
        assert!(!environment(&[("TERM", "dumb")]).allows_colour());
    }

    #[test]
    fn a_path_becomes_absolute() {
        let environment = environment(&[]);
        let base = Path::new("/srv");
        assert_eq!(environment.absolute("/x", base), Path::new("/x"));
        assert_eq!(environment.absolute("x/y", base), Path::new("/srv/x/y"));
        assert_eq!(environment.absolute("~/x", base), Path::new("/home/ada/x"));
        assert_eq!(environment.absolute("~", base), Path::new("/home/ada"));
        assert_eq!(environment.absolute("~x", base), Path::new("/srv/~x"));
    }

    #[cfg(unix)]
    #[test]
    fn a_user_is_found_in_the_list_by_number() {
        let users = "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\nbroken\n";
        assert_eq!(user_in_list(users, 1000).as_deref(), Some("ada"));
        assert_eq!(user_in_list(users, 1001), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_no_utf_8_is_named() {
        use std::os::unix::ffi::OsStringExt;
        let bad = OsString::from_vec(vec![0xff]);
        let (decoded, undecodable) =
            decode([("A".into(), "a".into()), ("B".into(), bad)].into_iter());
        assert_eq!(decoded.get("A").map(String::as_str), Some("a"));
        assert!(undecodable.contains("B"));
    }

    #[cfg(unix)]
    #[test]
    fn the_link_in_the_path_is_preferred_to_what_it_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("versions/1");
        let links = folder.path().join("bin");
        std::fs::create_dir_all(&real).unwrap();
        std::fs::create_dir_all(&links).unwrap();
        std::fs::write(real.join("mesh"), "").unwrap();
        std::os::unix::fs::symlink(real.join("mesh"), links.join("mesh")).unwrap();
        let found =
            environment(&[("PATH", links.to_str().unwrap())]).lasting_path(real.join("mesh"));
        assert_eq!(found, links.join("mesh"));
        let found = environment(&[("PATH", "/nowhere")]).lasting_path(real.join("mesh"));
        assert_eq!(found, real.join("mesh"));
    }
}
