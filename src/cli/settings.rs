//! The flags of the settings, made from the table of settings, so that none can be missing.

use std::sync::LazyLock;

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, ValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::config::Flags;
use crate::config::setting::{Kind, SETTINGS, Setting};

/// The settings that the command line gives.
#[derive(Clone, Debug, Default)]
pub struct SettingFlags {
    flags: Flags,
}

const HEADING: &str = "Settings";
/// The flags of the settings in their order; clap wants names that live as long as the program.
static FLAGS: LazyLock<Vec<String>> =
    LazyLock::new(|| SETTINGS.iter().map(|setting| setting.flag()).collect());

impl SettingFlags {
    /// What was given, by the variable of each setting.
    pub fn flags(&self) -> Flags {
        self.flags.clone()
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut flags = Flags::new();
        for setting in SETTINGS {
            if let Some(value) = matches.get_one::<String>(setting.variable) {
                flags.insert(setting.variable, value.clone());
            }
        }
        Ok(Self { flags })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.flags.extend(Self::from_arg_matches(matches)?.flags);
        Ok(())
    }
}

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        SETTINGS
            .iter()
            .zip(FLAGS.iter())
            .fold(command, |command, (setting, flag)| {
                command.arg(argument(setting, flag))
            })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The flag of one setting. The long help lists it everywhere, the short one nowhere: a command's own
/// flags would drown.
fn argument(setting: &'static Setting, flag: &'static str) -> Arg {
    let flag = Arg::new(setting.variable)
        .long(flag)
        .help(format!("{} [default: {}]", setting.meaning, setting.default).replace('`', ""))
        .help_heading(HEADING)
        .hide_short_help(true)
        .global(true)
        .action(ArgAction::Set)
        .value_parser(value_parser(setting.kind))
        .value_name(value_name(setting.kind));
    match setting.kind {
        Kind::Switch => flag
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        Kind::Path => flag.value_hint(clap::ValueHint::AnyPath),
        _ => flag,
    }
}

fn value_parser(kind: Kind) -> ValueParser {
    match kind {
        Kind::Word(words) => PossibleValuesParser::new(words).into(),
        _ => NonEmptyStringValueParser::new().into(),
    }
}

const fn value_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::Word(_) => "VALUE",
        Kind::Number => "NUMBER",
        Kind::Bytes => "BYTES",
        Kind::Switch => "BOOL",
        Kind::List => "LIST",
        Kind::Path => "PATH",
    }
}
