//! Settings as documents: the table of the README, and an example of a file.

use std::fmt::Write;

use super::check;
use super::setting::{Kind, SETTINGS, Setting};

/// The table of settings in Markdown, as documents embed it.
pub fn settings_table_markdown() -> String {
    let mut table = String::from("| variable | flag | meaning | default |\n|---|---|---|---|\n");
    for setting in SETTINGS {
        let also = setting
            .also
            .map_or_else(String::new, |also| format!(", else `{also}`"));
        let values = match setting.kind {
            Kind::Word(words) => format!(": `{}`", words.join("`, `")),
            _ => String::new(),
        };
        let _ = writeln!(
            table,
            "| `{}`{also} | `--{}` | {}{values} | {} |",
            setting.variable,
            setting.flag(),
            setting.meaning,
            setting.default,
        );
    }
    table
}

/// A `--config` file that holds every setting, each as a comment and each with a word on it.
pub fn example() -> String {
    let mut text = String::from(
        "# Settings of agent-mesh, for `--config`. Flags and variables of the environment win over them.\n\
         # Relative paths start from this file's folder. Remove the # before a line to set it.\n",
    );
    for setting in SETTINGS {
        let _ = write!(
            text,
            "\n# {}.\n# Default: {}. Variable: {}.\n#{} = {}\n",
            setting.meaning,
            setting.default,
            setting.variable,
            setting.key(),
            toml_value(setting),
        );
    }
    text
}

/// The setting's example as TOML writes it.
fn toml_value(setting: &Setting) -> String {
    match setting.kind {
        Kind::Number | Kind::Switch => setting.example.to_owned(),
        Kind::List => {
            let items = check::list(setting.example).unwrap_or_default();
            let quoted: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
            format!("[{}]", quoted.join(", "))
        }
        Kind::Text | Kind::Word(_) | Kind::Bytes | Kind::Path => format!("{:?}", setting.example),
    }
}
