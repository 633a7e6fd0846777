//! What a client is told of this server: the program, its arguments, and the settings that are set now.

use std::collections::BTreeMap;

use crate::config::setting::{DATA_DIR, PREFIX, REGION};
use crate::config::{Config, Environment, Source};

/// One server in a client's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The program, absolute: a client has its own search path.
    pub(super) command: String,
    /// Its arguments.
    pub(super) args: Vec<String>,
    /// Its variables.
    pub(super) env: BTreeMap<String, String>,
}

/// Variables of the AWS SDK that say where credentials are, and hold none; `true` for paths.
const AWS_VARIABLES: [(&str, bool); 3] = [
    ("AWS_PROFILE", false),
    ("AWS_CONFIG_FILE", true),
    ("AWS_SHARED_CREDENTIALS_FILE", true),
];
/// Variables of the AWS SDK that are secrets or useless without one.
const AWS_SECRETS: [&str; 3] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
];

impl Entry {
    /// This program with the settings that flags, environment and file give it now. Clients start their
    /// servers with few variables, so what is not written down would be lost. Secrets are never written.
    ///
    /// # Errors
    /// This program's own path is not known, or is no UTF-8.
    pub(super) fn of(config: &Config, environment: &Environment) -> Result<Self, String> {
        let command = environment
            .executable
            .as_ref()
            .and_then(|path| path.to_str())
            .ok_or("the path of this program is not known, or is no UTF-8")?
            .to_owned();
        let mut args = Vec::new();
        if let Some(file) = &config.file {
            args.push("--config".to_owned());
            args.push(file.to_string_lossy().into_owned());
        }
        let mut env = BTreeMap::new();
        for value in &config.values {
            let variable = value.setting.variable;
            let is_ours = variable.starts_with(PREFIX) || variable == REGION.variable;
            let is_given = matches!(value.source, Source::Flag(_) | Source::Variable(_));
            if let Some(text) = &value.value
                && is_ours
                && is_given
                && !value.setting.secret
            {
                env.insert(variable.to_owned(), text.clone());
            }
        }
        for (name, is_path) in AWS_VARIABLES {
            if let Some(text) = environment.get(name) {
                let text = if is_path {
                    let path = environment.absolute(text, &environment.working_dir);
                    path.to_string_lossy().into_owned()
                } else {
                    text.to_owned()
                };
                env.insert(name.to_owned(), text);
            }
        }
        // A shell's own data folder is not a client's; without this the two would see different data.
        if environment.get("XDG_DATA_HOME").is_some() {
            env.entry(DATA_DIR.variable.to_owned())
                .or_insert_with(|| config.data_dir.to_string_lossy().into_owned());
        }
        Ok(Self { command, args, env })
    }
}

/// What the person should know about what was not written.
pub(super) fn note(environment: &Environment) -> Option<String> {
    let set = AWS_SECRETS
        .iter()
        .find(|name| environment.get(name).is_some())?;
    Some(format!(
        "{set} is set here and is not written into the client's file, because it is a secret; \
         put it into a profile and name that with AWS_PROFILE"
    ))
}
