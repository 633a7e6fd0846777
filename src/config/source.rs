//! Gathers the texts of settings from flags, environment and file, and remembers where each came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeValue;

use super::check::bytes_text;
use super::environment::Environment;
use super::mistake::{Mistakes, Place, did_you_mean, nearest};
use super::setting::{Kind, PREFIX, SETTINGS, Setting, TEST_PREFIX};
use super::toml_text::{TomlText, integer, kind_of};

/// What the command line says, by the variable of each setting.
pub type Flags = BTreeMap<&'static str, String>;

/// Where a value came from; what stands further up wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A flag of the command line.
    Flag(String),
    /// A variable of the environment.
    Variable(&'static str),
    /// A line of the `--config` file.
    File(Place),
    /// Nobody set it.
    Default,
}

/// A setting with the value that is in force.
#[derive(Clone, Debug)]
pub struct SettingValue {
    /// The setting.
    pub setting: &'static Setting,
    /// The value as text, or nothing where it is not set and has no default. A secret one is masked.
    pub value: Option<String>,
    /// Where it came from.
    pub source: Source,
}

/// The texts of all settings that somebody set.
pub(crate) struct Gathered {
    given: BTreeMap<&'static str, (String, Source)>,
    environment: Environment,
}

/// Turns gathered texts into values and writes down what came out.
pub(crate) struct Reader {
    gathered: Gathered,
    /// What was wrong so far.
    pub(crate) mistakes: Mistakes,
    values: Vec<SettingValue>,
}

/// A value that can be shown to an operator.
pub(crate) trait Shown {
    /// The value as text, or nothing where there is none.
    fn shown(&self) -> Option<String>;
}

/// What a masked secret looks like.
const MASK: &str = "(set, not shown)";

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(formatter, "--{flag}"),
            Self::Variable(name) => formatter.write_str(name),
            Self::File(place) => write!(formatter, "{place}"),
            Self::Default => formatter.write_str("default"),
        }
    }
}

impl Source {
    /// The kind of place, in one word: `flag`, `environment`, `file` or `default`.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Flag(_) => "flag",
            Self::Variable(_) => "environment",
            Self::File(_) => "file",
            Self::Default => "default",
        }
    }
}

impl Gathered {
    /// Everything that flags, environment and file say, with what is wrong in their names, and with what
    /// is only worth a warning.
    pub(crate) fn gather(
        flags: &Flags,
        environment: &Environment,
        file: Option<(&Path, &str)>,
        mistakes: &mut Mistakes,
        warnings: &mut Vec<String>,
    ) -> Self {
        let mut given = BTreeMap::new();
        if let Some((path, text)) = file {
            read_file(path, text, &mut given, mistakes);
        }
        for setting in SETTINGS {
            for variable in setting.also.into_iter().chain([setting.variable]) {
                if environment.undecodable.contains(variable) {
                    mistakes.add(variable, "its value is no UTF-8");
                }
                if let Some(text) = environment.get(variable) {
                    let value = (text.to_owned(), Source::Variable(variable));
                    given.insert(setting.variable, value);
                }
            }
            if let Some(text) = flags.get(setting.variable) {
                let value = (text.trim().to_owned(), Source::Flag(setting.flag()));
                given.insert(setting.variable, value);
            }
        }
        warn_of_variables(environment, warnings);
        Self {
            given,
            environment: environment.clone(),
        }
    }

    /// Where `setting` was set, or that it was not.
    pub(crate) fn source(&self, setting: &Setting) -> Source {
        self.given
            .get(setting.variable)
            .map_or(Source::Default, |(_, source)| source.clone())
    }

    /// How the operator wrote the setting that came from `source`.
    fn name(setting: &Setting, source: &Source) -> String {
        match source {
            Source::Flag(flag) => format!("--{flag}"),
            Source::Variable(name) => (*name).to_owned(),
            Source::File(_) => setting.key(),
            Source::Default => setting.variable.to_owned(),
        }
    }
}

impl Reader {
    /// A reader of `gathered`, after `mistakes` have been found in its names.
    pub(crate) fn new(gathered: Gathered, mistakes: Mistakes) -> Self {
        Self {
            gathered,
            mistakes,
            values: Vec::with_capacity(SETTINGS.len()),
        }
    }

    /// Where `setting` was set, or that it was not.
    pub(crate) fn source(&self, setting: &Setting) -> Source {
        self.gathered.source(setting)
    }

    /// The value of `setting`: what `parse` makes of its text, or `default` where it is not set. A text
    /// that `parse` refuses is a mistake, and `default` stands in for it until all are told.
    pub(crate) fn read<T: Shown>(
        &mut self,
        setting: &'static Setting,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        self.read_from(setting, default, |text, _| parse(text))
    }

    /// The value of a setting that names a file or folder: absolute, a relative one starting from the
    /// working folder, or from the file that it stands in.
    pub(crate) fn read_path(
        &mut self,
        setting: &'static Setting,
        default: Option<PathBuf>,
        check: impl FnOnce(&Path) -> Result<(), String>,
    ) -> Option<PathBuf> {
        let environment = self.gathered.environment.clone();
        self.read_from(setting, default, |text, source| {
            let path = absolute(&environment, text, source);
            check(&path).map(|()| Some(path))
        })
    }

    /// As [`Reader::read`], for a `parse` that also needs to know where the text came from.
    pub(crate) fn read_from<T: Shown>(
        &mut self,
        setting: &'static Setting,
        default: T,
        parse: impl FnOnce(&str, &Source) -> Result<T, String>,
    ) -> T {
        let (value, source) = match self.gathered.given.get(setting.variable) {
            None => (default, Source::Default),
            Some((text, source)) => match parse(text, source) {
                Ok(value) => (value, source.clone()),
                Err(message) => {
                    let source = source.clone();
                    let quoted = if setting.secret {
                        message
                    } else {
                        format!("\"{}\": {message}", shortened(text))
                    };
                    self.mistake(setting, &source, quoted);
                    (default, source)
                }
            },
        };
        self.values.push(SettingValue {
            setting,
            value: value.shown().map(|text| masked(setting, text)),
            source,
        });
        value
    }

    /// One more mistake about `setting`, told where it was set.
    pub(crate) fn mistake(&mut self, setting: &Setting, source: &Source, message: String) {
        let name = Gathered::name(setting, source);
        match source {
            Source::File(place) => self.mistakes.add_at(place.clone(), name, message),
            _ => self.mistakes.add(name, message),
        }
    }

    /// What was read, and what was wrong with it.
    pub(crate) fn finish(self) -> (Vec<SettingValue>, Mistakes) {
        (self.values, self.mistakes)
    }
}

/// `text` as an absolute path; a relative one starts from the folder of the file that it stands in, or
/// from the working folder.
pub(crate) fn absolute(environment: &Environment, text: &str, source: &Source) -> PathBuf {
    let folder = match source {
        Source::File(place) => place.path.parent(),
        _ => None,
    };
    let base = environment
        .working_dir
        .join(folder.unwrap_or(Path::new("")));
    environment.absolute(text, &base)
}

/// What is shown of a value: itself, unless it is a secret.
fn masked(setting: &Setting, text: String) -> String {
    if setting.secret {
        MASK.to_owned()
    } else {
        text
    }
}

/// At most this many characters of a wrong value are told back.
const QUOTED_CHARS_MAX: usize = 80;

fn shortened(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// The settings of a `--config` file; an unknown key or a value of the wrong type is a mistake.
fn read_file(
    path: &Path,
    text: &str,
    given: &mut BTreeMap<&'static str, (String, Source)>,
    mistakes: &mut Mistakes,
) {
    let toml = TomlText::new(path, text);
    let Some(table) = toml.parse(mistakes) else {
        return;
    };
    let by_key: BTreeMap<String, &'static Setting> = SETTINGS
        .iter()
        .map(|setting| (setting.key(), *setting))
        .collect();
    for (key, value) in &table {
        let name: &str = key.get_ref();
        let place = toml.place_of(key);
        let Some(setting) = by_key.get(name) else {
            let near = did_you_mean(name, by_key.keys().map(String::as_str));
            mistakes.add_at(place, name, format!("there is no such setting{near}"));
            continue;
        };
        match text_of(setting.kind, value) {
            Ok(text) => {
                given.insert(setting.variable, (text, Source::File(place)));
            }
            Err(message) => mistakes.add_at(toml.place_of(value), name, message),
        }
    }
}

/// A file's value as the text that a variable would hold.
fn text_of(kind: Kind, value: &Spanned<DeValue<'_>>) -> Result<String, String> {
    let text = match (kind, value.get_ref()) {
        (_, DeValue::String(text)) => text.trim().to_owned(),
        (Kind::Number | Kind::Bytes, DeValue::Integer(number)) => integer(number)
            .ok_or("the number is too large")?
            .to_string(),
        (Kind::Switch, DeValue::Boolean(switch)) => switch.to_string(),
        (Kind::List, DeValue::Array(items)) => {
            let texts: Option<Vec<&str>> = items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(text) if !text.contains(',') => Some(text.trim()),
                    _ => None,
                })
                .collect();
            texts
                .ok_or("each item of the list must be a text without a comma")?
                .join(",")
        }
        (kind, value) => {
            let wanted = match kind {
                Kind::Number => "a whole number",
                Kind::Bytes => "a number of bytes",
                Kind::Switch => "true or false",
                Kind::List => "a list of texts",
                Kind::Text | Kind::Word(_) | Kind::Path => "a text",
            };
            return Err(format!("it must be {wanted}, not {}", kind_of(value)));
        }
    };
    if text.is_empty() {
        return Err("it is empty; leave the line out for the default".to_owned());
    }
    Ok(text)
}

/// Warns of variables that look like settings and are none that this version honours.
fn warn_of_variables(environment: &Environment, warnings: &mut Vec<String>) {
    let ours = environment
        .variables
        .keys()
        .filter(|name| name.starts_with(PREFIX) && !name.starts_with(TEST_PREFIX))
        .filter(|name| environment.get(name).is_some());
    for name in ours {
        if !SETTINGS.iter().any(|setting| setting.variable == name) {
            warnings.push(format!(
                "{name} is set, but there is no such setting{}",
                near_variable(name)
            ));
        }
    }
}

/// "; did you mean ...?" for a variable of ours; the prefix that all share makes none of them alike.
fn near_variable(name: &str) -> String {
    let rest = |name: &'static str| name.strip_prefix(PREFIX);
    let known = SETTINGS.iter().filter_map(|setting| rest(setting.variable));
    nearest(name.trim_start_matches(PREFIX), known).map_or_else(String::new, |near| {
        format!("; did you mean `{PREFIX}{near}`?")
    })
}

/// A number of bytes, shown with its unit.
pub(crate) struct Bytes(pub(crate) u64);

impl Shown for Bytes {
    fn shown(&self) -> Option<String> {
        Some(bytes_text(self.0))
    }
}

impl Shown for String {
    fn shown(&self) -> Option<String> {
        Some(self.clone())
    }
}

impl Shown for PathBuf {
    fn shown(&self) -> Option<String> {
        Some(self.display().to_string())
    }
}

impl Shown for bool {
    fn shown(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Shown for u32 {
    fn shown(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> Option<String> {
        self.as_ref().and_then(Shown::shown)
    }
}

impl Shown for Vec<String> {
    fn shown(&self) -> Option<String> {
        (!self.is_empty()).then(|| self.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static SECRET: Setting = Setting {
        variable: "AGENT_MESH_SECRET",
        also: None,
        kind: Kind::Text,
        meaning: "A secret",
        default: "none",
        example: "x",
        secret: true,
    };

    fn reader(text: &str) -> Reader {
        let source = Source::Variable(SECRET.variable);
        let gathered = Gathered {
            given: [(SECRET.variable, (text.to_owned(), source))].into(),
            environment: Environment::default(),
        };
        Reader::new(gathered, Mistakes::default())
    }

    #[test]
    fn a_secret_is_shown_neither_as_a_value_nor_in_a_mistake() {
        let mut right = reader("hunter2");
        let value = right.read(&SECRET, String::new(), |text| Ok(text.to_owned()));
        assert_eq!(value, "hunter2");
        let (values, _) = right.finish();
        assert_eq!(values[0].value.as_deref(), Some(MASK));

        let mut wrong = reader("hunter2");
        wrong.read(&SECRET, String::new(), |_| Err("too short".to_owned()));
        let errors = wrong.finish().1.unless(()).unwrap_err();
        assert_eq!(errors.mistakes()[0].message, "too short");
    }

    #[test]
    fn a_long_wrong_value_is_told_back_shortened() {
        let edge = "ü".repeat(QUOTED_CHARS_MAX);
        assert_eq!(shortened(&edge), edge);
        assert_eq!(shortened(&format!("{edge}ü")), format!("{edge}..."));
    }
}
