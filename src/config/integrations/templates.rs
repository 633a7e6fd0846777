//! `templates.toml`, strictly: an unknown key, a wrong pattern and a program that is not there are all told at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::shareable;
use crate::config::mistake::{ConfigErrors, Mistakes, Place, did_you_mean};
use crate::config::read_bounded;
use crate::config::toml_text::{StrictToml, integer, kind_of};
use crate::mesh::integration::template::{ArgumentPattern, DEFAULT_PORTS, is_slot_name};
use crate::mesh::integration::{Slot, Template, Templates};

/// The largest file of templates, in bytes.
pub const TEMPLATES_FILE_BYTES_MAX: u64 = 1 << 20;

/// The most templates, and the most items of one list of a template.
pub const ITEMS_MAX: usize = 256;

const TEMPLATE_KEYS: [&str; 7] = [
    "program", "args", "slots", "env", "paths", "writable", "ports",
];

/// Variables that this server sets for every child.
const SET_BY_US: [&str; 3] = ["HOME", "PATH", "TMPDIR"];

/// The templates of the file at `path`; `private` is what no child may ever read.
///
/// # Errors
/// Every mistake in it, each with its line.
pub(super) fn open(
    path: &Path,
    private: &[&Path],
    warnings: &mut Vec<String>,
) -> Result<Templates, ConfigErrors> {
    match read_bounded(path, TEMPLATES_FILE_BYTES_MAX) {
        Ok(text) => parse(path, &text, private, warnings),
        Err(message) => {
            let mut mistakes = Mistakes::default();
            mistakes.add_at(Place::new(path, 0), "templates", message);
            mistakes.demand(None)
        }
    }
}

/// Parses the text of the file at `path`.
///
/// # Errors
/// Every mistake in it, each with its line.
pub(super) fn parse(
    path: &Path,
    text: &str,
    private: &[&Path],
    warnings: &mut Vec<String>,
) -> Result<Templates, ConfigErrors> {
    let mut parser = Parser {
        toml: StrictToml::new(path, text),
        private,
        warnings,
    };
    let templates = parser.root();
    parser.toml.mistakes.unless(Arc::new(templates))
}

struct Parser<'text> {
    toml: StrictToml<'text>,
    private: &'text [&'text Path],
    warnings: &'text mut Vec<String>,
}

impl Parser<'_> {
    fn root(&mut self) -> BTreeMap<String, Template> {
        let mut templates = BTreeMap::new();
        let Some(root) = self.toml.parse() else {
            return templates;
        };
        self.toml.refuse_unknown(&root, "", &["templates"]);
        let Some(table) = self.toml.table(&root, "", "templates") else {
            return templates;
        };
        if table.len() > ITEMS_MAX {
            let place = Place::new(Path::new("templates"), 0);
            self.toml
                .mistakes
                .add_at(place, "templates", format!("there are at most {ITEMS_MAX}"));
        }
        for (key, value) in table {
            let id: &str = key.get_ref();
            if !is_template_id(id) {
                let message = "a template's id is 1 to 32 of a-z, 0-9 and -";
                self.toml.mistake(key, format!("templates.{id}"), message);
            }
            if let Some(template) = self.template(id, value) {
                templates.insert(id.to_owned(), template);
            }
        }
        templates
    }

    fn template(&mut self, id: &str, value: &Spanned<DeValue<'_>>) -> Option<Template> {
        let name = format!("templates.{id}");
        let table = self.toml.as_table(value, &name)?;
        let prefix = format!("{name}.");
        self.toml.refuse_unknown(table, &prefix, &TEMPLATE_KEYS);
        let program = match table.get("program") {
            Some(program) => self.program(program, &prefix),
            None => {
                self.toml.mistake(
                    value,
                    format!("{prefix}program"),
                    "it is needed: an absolute path",
                );
                None
            }
        };
        let slots = self.slots(table, &prefix);
        // Everything is read before anything may be missing, so that all mistakes are told.
        let (args, env) = (self.args(table, &prefix, &slots), self.env(table, &prefix));
        let paths = self.paths(table, &prefix, "paths");
        let writable = self.paths(table, &prefix, "writable");
        let ports = self.ports(table, &prefix);
        Some(Template {
            program: program?,
            args,
            slots,
            env,
            paths,
            writable,
            ports,
        })
    }

    fn program(&mut self, value: &Spanned<DeValue<'_>>, prefix: &str) -> Option<PathBuf> {
        let name = format!("{prefix}program");
        let path = PathBuf::from(self.text(value, &name)?);
        if !path.is_absolute() {
            self.toml
                .mistake(value, name, "it must be an absolute path");
            return None;
        }
        if super::find(&path.to_string_lossy(), "").is_none() {
            self.warnings.push(format!(
                "{name} of the templates file names {}, and there is no such program; it cannot be started",
                path.display()
            ));
        }
        Some(path)
    }

    fn args(
        &mut self,
        table: &DeTable<'_>,
        prefix: &str,
        slots: &BTreeMap<String, Slot>,
    ) -> Vec<ArgumentPattern> {
        let name = format!("{prefix}args");
        let mut args = Vec::new();
        let mut used = BTreeSet::new();
        for item in self.list(table, &name, "args") {
            let Some(text) = self.text(item, &name) else {
                continue;
            };
            match ArgumentPattern::parse(text) {
                Err(message) => self.toml.mistake(item, &name, message),
                Ok(arg) => {
                    for slot in arg.slots() {
                        used.insert(slot.to_owned());
                        if !slots.contains_key(slot) {
                            let near = did_you_mean(slot, slots.keys().map(String::as_str));
                            let message = format!("`slots` says nothing of {{{slot}}}{near}");
                            self.toml.mistake(item, &name, message);
                        }
                    }
                    args.push(arg);
                }
            }
        }
        if let Some(unused) = slots.keys().find(|slot| !used.contains(*slot))
            && let Some(value) = table.get("slots")
        {
            let name = format!("{prefix}slots.{unused}");
            self.toml.mistake(value, name, "no argument has this slot");
        }
        args
    }

    fn slots(&mut self, table: &DeTable<'_>, prefix: &str) -> BTreeMap<String, Slot> {
        let mut slots = BTreeMap::new();
        let Some(entries) = self.toml.table(table, prefix, "slots") else {
            return slots;
        };
        for (key, value) in entries {
            let slot_name: &str = key.get_ref();
            let name = format!("{prefix}slots.{slot_name}");
            if !is_slot_name(slot_name) {
                self.toml
                    .mistake(key, &name, "a slot's name is 1 to 32 of a-z, 0-9 and _");
            }
            let slot = match value.get_ref() {
                DeValue::String(pattern) => Slot::pattern(pattern),
                DeValue::Array(items) => {
                    let words: Option<Vec<String>> = items
                        .iter()
                        .map(|item| item.get_ref().as_str().map(str::to_owned))
                        .collect();
                    words
                        .filter(|words| (1..=ITEMS_MAX).contains(&words.len()))
                        .map(Slot::Words)
                        .ok_or_else(|| format!("it must be a list of 1 to {ITEMS_MAX} texts"))
                }
                other => Err(format!(
                    "it must be a regular expression or a list of texts, not {}",
                    kind_of(other)
                )),
            };
            match slot {
                Ok(slot) => {
                    slots.insert(slot_name.to_owned(), slot);
                }
                Err(message) => self.toml.mistake(value, name, message),
            }
        }
        slots
    }

    fn env(&mut self, table: &DeTable<'_>, prefix: &str) -> BTreeSet<String> {
        let name = format!("{prefix}env");
        let mut names = BTreeSet::new();
        for item in self.list(table, &name, "env") {
            let Some(text) = self.text(item, &name) else {
                continue;
            };
            if !is_variable(text) {
                self.toml
                    .mistake(item, &name, format!("\"{text}\" is no name of a variable"));
            } else if SET_BY_US.contains(&text) {
                let message = format!("{text} is set by this server for every child");
                self.toml.mistake(item, &name, message);
            } else {
                names.insert(text.to_owned());
            }
        }
        names
    }

    fn paths(&mut self, table: &DeTable<'_>, prefix: &str, key: &str) -> Vec<PathBuf> {
        let name = format!("{prefix}{key}");
        let mut paths = Vec::new();
        for item in self.list(table, &name, key) {
            let Some(text) = self.text(item, &name) else {
                continue;
            };
            let path = PathBuf::from(text);
            let checked = if path.is_absolute() {
                shareable(&path, self.private)
            } else {
                Err(format!("\"{text}\" must be an absolute path"))
            };
            match checked {
                Ok(()) => {
                    if !path.exists() {
                        let shown = path.display();
                        self.warnings.push(format!(
                            "{name} of the templates file names {shown}, which is not there"
                        ));
                    }
                    paths.push(path);
                }
                Err(message) => self.toml.mistake(item, &name, message),
            }
        }
        paths
    }

    fn ports(&mut self, table: &DeTable<'_>, prefix: &str) -> Vec<u16> {
        if table.get("ports").is_none() {
            return DEFAULT_PORTS.to_vec();
        }
        let name = format!("{prefix}ports");
        let mut ports = Vec::new();
        for item in self.list(table, &name, "ports") {
            let port = match item.get_ref() {
                DeValue::Integer(number) => {
                    integer(number).and_then(|port| u16::try_from(port).ok())
                }
                _ => None,
            };
            match port.filter(|port| *port > 0) {
                Some(port) => ports.push(port),
                None => self
                    .toml
                    .mistake(item, &name, "a port is a whole number from 1 to 65535"),
            }
        }
        ports
    }

    /// The items of the list at `key`; none where there is no such key.
    fn list<'t, 'i>(
        &mut self,
        table: &'t DeTable<'i>,
        name: &str,
        key: &str,
    ) -> Vec<&'t Spanned<DeValue<'i>>> {
        let Some(value) = table.get(key) else {
            return Vec::new();
        };
        match value.get_ref() {
            DeValue::Array(items) if items.len() <= ITEMS_MAX => items.iter().collect(),
            DeValue::Array(_) => {
                self.toml
                    .mistake(value, name, format!("it has at most {ITEMS_MAX} items"));
                Vec::new()
            }
            other => {
                let message = format!("it must be a list, not {}", kind_of(other));
                self.toml.mistake(value, name, message);
                Vec::new()
            }
        }
    }

    fn text<'t>(&mut self, value: &'t Spanned<DeValue<'_>>, name: &str) -> Option<&'t str> {
        match value.get_ref() {
            DeValue::String(text) => Some(text),
            other => {
                let message = format!("it must be a text, not {}", kind_of(other));
                self.toml.mistake(value, name, message);
                None
            }
        }
    }
}

/// Whether a template may have this id: 1 to 32 of `[a-z0-9-]`.
fn is_template_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(allowed)
}

/// Whether a variable may have this name: a letter or `_`, then those and digits.
fn is_variable(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=128).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with(|letter: char| letter.is_ascii_digit())
}

/// A file of templates with a word on each of its settings.
pub const EXAMPLE: &str = r#"# Programs that any tenant may connect to. Read at start; a mistake stops the server, all are told at once.

# One table for each template; its id is 1 to 32 of a-z, 0-9 and -.
[templates.notes]
# The program, an absolute path: it may read the folder that it is installed in.
program = "/usr/bin/python3"
# Its arguments. {slot} is filled by the connection's settings and never becomes two arguments; {{ and }} are braces.
args = ["-m", "notes_server", "--project={project}", "--region", "{region}"]
# The variables that a connection may set, mostly to hand over what it signs in with.
env = ["NOTES_TOKEN"]
# What it may read besides the system's folders, its program and a working folder of its own.
paths = ["/usr/share"]
# What it may also write: shared by all who connect, so better nothing.
writable = []
# The TCP ports that it may connect to: 443 unless they are named.
ports = [443]

# What may fill each slot: a regular expression for the whole of it, or the words themselves. A value never
# begins with -, holds no control characters and has at most 4096 bytes.
[templates.notes.slots]
project = "[a-z][a-z0-9-]{0,30}"
region = ["eu", "us"]
"#;

#[cfg(test)]
mod tests;
