//! The environment of a child: what was declared for it and nothing of ours.

use std::collections::BTreeMap;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::ChildSettings;
use crate::mesh::Error;

/// The most variables that may be declared.
pub(super) const VARIABLES_MAX: usize = 128;

/// The longest value of a variable, in bytes.
pub(super) const VALUE_BYTES_MAX: usize = 32 << 10;

/// The longest name of a variable, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// Variables that this server sets for every child.
const OURS: [&str; 3] = ["HOME", "PATH", "TMPDIR"];

/// Variables that make programs load or run something else, or that lead to somebody else's credentials.
const REFUSED: [&str; 27] = [
    "BASH_ENV",
    "CLASSPATH",
    "ENV",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "IFS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "LOCPATH",
    "NODE_EXTRA_CA_CERTS",
    "NODE_OPTIONS",
    "NODE_PATH",
    "NODE_REPL_EXTERNAL_MODULE",
    "PERL5DB",
    "PERL5LIB",
    "PERL5OPT",
    "PERLLIB",
    "PYTHONBREAKPOINT",
    "PYTHONEXECUTABLE",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "RUBYLIB",
    "RUBYOPT",
    "_JAVA_OPTIONS",
];

/// What such variables begin with.
const REFUSED_PREFIXES: [&str; 7] = [
    "AGENT_MESH_",
    "AWS_",
    "BASH_FUNC_",
    "DYLD_",
    "GIT_",
    "LD_",
    "SSH_",
];

/// What such variables end with, in any case: whoever sets a proxy sees what goes through it.
const PROXY_SUFFIX: &str = "_PROXY";

/// Whether a command may have these variables.
///
/// # Errors
/// `INVALID_PARAMETER`, naming the first that it may not have.
pub(super) fn check_command(declared: &BTreeMap<String, SecretString>) -> Result<(), Error> {
    for name in declared.keys() {
        if is_refused(name) {
            return Err(Error::invalid(
                &format!("env.{name}"),
                "this variable could make the program run something else, or is not the program's to have",
            )
            .fix("Leave it out. An operator can allow it by listing it in the `env` of a template."));
        }
    }
    check(declared)
}

/// Whether any program may have these variables.
///
/// # Errors
/// `INVALID_PARAMETER`, naming the first that it may not have.
pub(super) fn check(declared: &BTreeMap<String, SecretString>) -> Result<(), Error> {
    if declared.len() > VARIABLES_MAX {
        let message = format!("there are at most {VARIABLES_MAX} variables");
        return Err(Error::invalid("env", message));
    }
    for (name, value) in declared {
        let refuse = |message: String| Err(Error::invalid(&format!("env.{name}"), message));
        let value = value.expose_secret();
        if !is_name(name) {
            return Err(Error::invalid(
                "env",
                "a variable's name is of A-Z, a-z, 0-9 and _, and does not begin with a digit",
            ));
        }
        if OURS.contains(&name.as_str()) {
            return refuse("is set by this server for every program".to_owned());
        }
        if value.contains('\0') {
            return refuse("must hold no zero byte".to_owned());
        }
        if value.len() > VALUE_BYTES_MAX {
            return refuse(format!("must be at most {VALUE_BYTES_MAX} bytes"));
        }
    }
    Ok(())
}

/// The whole environment of a child that works in `folder`.
pub(super) fn whole(
    settings: &ChildSettings,
    folder: &Path,
    temporary: &Path,
    declared: &BTreeMap<String, SecretString>,
) -> BTreeMap<String, String> {
    let mut variables = settings.locale.clone();
    for (name, value) in declared {
        variables.insert(name.clone(), value.expose_secret().to_owned());
    }
    for (name, value) in [
        ("HOME", folder.display().to_string()),
        ("TMPDIR", temporary.display().to_string()),
        ("PATH", settings.search_path.clone()),
    ] {
        variables.insert(name.to_owned(), value);
    }
    variables
}

fn is_refused(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    REFUSED.contains(&upper.as_str())
        || REFUSED_PREFIXES
            .iter()
            .any(|prefix| upper.starts_with(prefix))
        || upper.ends_with(PROXY_SUFFIX)
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with(|letter: char| letter.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(name: &str, value: &str) -> BTreeMap<String, SecretString> {
        BTreeMap::from([(name.to_owned(), SecretString::from(value.to_owned()))])
    }

    #[test]
    fn loaders_and_credentials_are_refused_in_any_case() {
        for bad in [
            "LD_PRELOAD",
            "DYLD_INSERT_LIBRARIES",
            "NODE_OPTIONS",
            "node_options",
            "PYTHONPATH",
            "AWS_SECRET_ACCESS_KEY",
            "AGENT_MESH_ROLE",
            "GIT_SSH_COMMAND",
            "SSH_AUTH_SOCK",
            "https_proxy",
            "HTTPS_PROXY",
            "BASH_ENV",
        ] {
            let error = check_command(&declared(bad, "x")).unwrap_err();
            assert_eq!(error.details()["parameter"], format!("env.{bad}"));
            // An operator's template may name it.
            check(&declared(bad, "x")).unwrap();
        }
        check_command(&declared("GITHUB_TOKEN", "x")).unwrap();
    }

    #[test]
    fn names_and_values_hold_at_their_edges() {
        check(&declared("A", &"x".repeat(VALUE_BYTES_MAX))).unwrap();
        for (name, value) in [
            ("A", "x".repeat(VALUE_BYTES_MAX + 1)),
            ("A", "a\0b".to_owned()),
            ("1A", String::new()),
            ("A=B", String::new()),
            ("", String::new()),
            ("HOME", String::new()),
            ("PATH", String::new()),
        ] {
            check(&declared(name, &value)).unwrap_err();
        }
        let many = |count: usize| -> BTreeMap<String, SecretString> {
            let variable = |index: usize| (format!("V{index}"), SecretString::from("x".to_owned()));
            (0..count).map(variable).collect()
        };
        check(&many(VARIABLES_MAX)).unwrap();
        check(&many(VARIABLES_MAX + 1)).unwrap_err();
    }

    #[test]
    fn a_refusal_never_shows_the_value() {
        let error = check_command(&declared("LD_PRELOAD", "canary")).unwrap_err();
        assert!(!format!("{error:?} {:?}", error.fix_text()).contains("canary"));
    }
}
