//! `app config check`: what holds, where it comes from, and all that is wrong.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Command};
use serde::Serialize;

use super::combinations::{Combinations, Flags};
use super::example::{default_of, flag_of};
use crate::cli::Cli;
use crate::cli::output::{Output, table};
use crate::cli::report::{BAD_SETTING, FAILED};
use crate::cli::settings::{args_of, given_by_flag, is_known, nearest, refusal_of};
use crate::settings::environment::{EnvironmentError, Origin, origin_of};
use crate::settings::masking::{HIDDEN, Shown};
use crate::settings::setting::{Reading, Setting};
use crate::settings::table;

/// The prefixes of variables that should be settings.
const PREFIXES: [&str; 2] = ["APP_", "OTEL_"];

/// All that there is to say of the settings.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    settings: Vec<Row>,
    unknown: Vec<Unknown>,
    wrong: Vec<Wrong>,
}

/// A setting and its value.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    /// As far as it may be seen; null where nothing is set and there is no default.
    value: Option<String>,
    source: String,
}

/// A variable that looks like a setting and is none.
#[derive(Debug, Serialize)]
struct Unknown {
    name: String,
    /// The setting that was meant, most likely.
    nearest: Option<&'static str>,
}

/// Something that cannot be used.
#[derive(Debug, Serialize)]
struct Wrong {
    /// The setting, where it is one.
    name: Option<&'static str>,
    /// A sentence without the value.
    message: String,
}

/// Looks at every setting, with the flags of this command line. `faults` are those of the files
/// that complete the environment.
pub(super) fn check(command_line: &[OsString], faults: &[EnvironmentError]) -> Report {
    let command = Cli::definition();
    let (flags, fault_of_line) = flags_of(command_line);
    let mut wrong: Vec<Wrong> = Vec::new();
    let files = faults.iter().map(|fault| match std::error::Error::source(fault) {
        Some(cause) => format!("{fault}: {cause}"),
        None => fault.to_string(),
    });
    let all = files.chain(fault_of_line);
    wrong.extend(all.map(|message| Wrong { name: None, message }));
    for setting in table::all() {
        let fault = fault_of(&command, setting, &flags);
        wrong.extend(fault.map(|message| Wrong { name: Some(setting.name), message }));
    }
    let alone = wrong.iter().filter_map(|it| it.name).collect();
    for message in (Combinations { flags: &flags, wrong: alone }).faults() {
        let name = table::all().filter(|it| message.contains(it.name));
        let name = name.max_by_key(|it| it.name.len()).map(|setting| setting.name);
        let is_told = wrong.iter().any(|it| name.is_some() && it.name == name);
        if !is_told {
            wrong.push(Wrong { name, message });
        }
    }
    let is_wrong = |name: &str| wrong.iter().any(|it| it.name == Some(name));
    let settings = table::all().map(|it| row(&command, it, &flags, is_wrong(it.name))).collect();
    Report { settings, unknown: unknown(), wrong }
}

/// The settings that the command line gives, and what is wrong with it.
fn flags_of(command_line: &[OsString]) -> (Vec<(String, String)>, Option<String>) {
    if command_line.is_empty() {
        return (Vec::new(), None);
    }
    let mut definition = crate::cli::settings::without_environment(Cli::definition());
    let line = std::iter::once(OsStr::new("app").to_owned()).chain(command_line.iter().cloned());
    match definition.try_get_matches_from_mut(line) {
        Ok(matches) => (given_by_flag_of(&matches), None),
        Err(error) if error.kind() == clap::error::ErrorKind::MissingRequiredArgument => {
            // It may come from the environment.
            (Vec::new(), None)
        }
        Err(error) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            (Vec::new(), Some(format!("the flags: {}", first.trim_start_matches("error: "))))
        }
    }
}

fn given_by_flag_of(matches: &clap::ArgMatches) -> Vec<(String, String)> {
    let mut definition = Cli::definition();
    definition.build();
    given_by_flag(&definition, matches)
}

/// The sentence for a value that cannot be used, by itself.
fn fault_of(command: &Command, setting: &Setting, flags: &Flags) -> Option<String> {
    let name = setting.name;
    // What a flag gives was read as one.
    if flags.iter().any(|(of, _)| of == name) {
        return None;
    }
    let value = std::env::var_os(name)?;
    let Some(value) = value.to_str() else {
        return Some(format!("{name} is no text in UTF-8"));
    };
    match setting.reading {
        Reading::Named { kind, .. } => {
            let fault = kind.fault(value)?;
            Some(format!("the value of {name} cannot be used: {fault}"))
        }
        // Of an environment file that leaves it empty, nothing is read.
        Reading::FileOf(_) => None,
        Reading::Flag => {
            // The same variable may mean something else to another command.
            let args = args_of(command).into_iter();
            args.filter(|arg| arg.get_env().is_some_and(|it| it == name))
                .find_map(|arg| refusal(arg, name, value))
        }
    }
}

/// The refusal of a value by the parser of its flag.
fn refusal(arg: &Arg, name: &str, value: &str) -> Option<String> {
    let parser: ValueParser = arg.get_value_parser().clone();
    let mut alone = Arg::new("alone").long("alone").action(ArgAction::Append).value_parser(parser);
    if let Some(delimiter) = arg.get_value_delimiter() {
        alone = alone.value_delimiter(delimiter);
    }
    let line = ["check".to_owned(), format!("--alone={value}")];
    let error = Command::new("check").arg(alone).try_get_matches_from(line).err()?;
    Some(refusal_of(&error, value, name, arg.get_long().unwrap_or_default()))
}

fn row(command: &Command, setting: &Setting, flags: &Flags, is_wrong: bool) -> Row {
    let name = setting.name;
    let flag = flag_of(command, name);
    let by_flag = flags.iter().find(|(of, _)| of == name).map(|(_, value)| value.clone());
    let set = std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let by_file = std::env::var_os(format!("{name}_FILE")).filter(|file| !file.is_empty());
    let (value, source) = match (by_flag, set, by_file) {
        (Some(value), ..) => {
            let long = flag.and_then(Arg::get_long).unwrap_or_default();
            (Some(mask(setting, &value)), format!("flag --{long}"))
        }
        (None, Some(value), _) => (Some(mask(setting, &value)), source_of(name)),
        (None, None, Some(_)) if table::find(&format!("{name}_FILE")).is_some() => {
            (Some(HIDDEN.to_owned()), format!("the file of {name}_FILE"))
        }
        (None, None, _) => {
            let default = Some(default_of(setting, flag)).filter(|default| !default.is_empty());
            (default, "default".to_owned())
        }
    };
    let value = if is_wrong { Some("(cannot be used, not shown)".to_owned()) } else { value };
    Row { name, value, source }
}

/// The value, as far as it may be seen. The path of a file that is not there may be anything.
fn mask(setting: &Setting, value: &str) -> String {
    match setting.name.ends_with("_FILE") && !Path::new(value).exists() {
        true => Shown::Nothing.mask(value),
        false => setting.shown.mask(value),
    }
}

fn source_of(name: &str) -> String {
    match origin_of(name) {
        None | Some(Origin::Environment) => "environment".to_owned(),
        Some(Origin::EnvFile(file) | Origin::ValueFile(file)) => format!("file {}", file.display()),
        Some(Origin::Context(name)) => format!("context {name}"),
    }
}

/// Variables that look like settings. What OpenTelemetry has more than is read here is no mistake,
/// unless it is nearly the name of one that is.
fn unknown() -> Vec<Unknown> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let unknown = names
        .filter(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && !is_known(name));
    let mut unknown: Vec<_> =
        unknown.map(|name| Unknown { nearest: nearest(&name), name }).collect();
    unknown.sort_by(|a, b| a.name.cmp(&b.name));
    unknown
}

impl Unknown {
    fn is_mistake(&self) -> bool {
        self.nearest.is_some() || self.name.starts_with(PREFIXES[0])
    }

    fn words(&self) -> String {
        let name = &self.name;
        match self.nearest {
            Some(nearest) => format!("{name} is no setting: did you mean {nearest}?"),
            None if self.is_mistake() => {
                format!("{name} is no setting; 'app config env' lists all")
            }
            None => format!("{name} is not read by this program"),
        }
    }
}

impl Report {
    /// Prints the settings, and below them what is wrong.
    pub(super) fn print(&self, output: Output) -> anyhow::Result<()> {
        match output {
            Output::Json | Output::Jsonl => println!("{}", serde_json::to_string(self)?),
            Output::Table => {
                let rows: Vec<_> = self
                    .settings
                    .iter()
                    .map(|row| {
                        let value = row.value.clone().unwrap_or_else(|| "-".to_owned());
                        [row.name.to_owned(), value, row.source.clone()]
                    })
                    .collect();
                print!("{}", table(["SETTING", "VALUE", "SOURCE"], &rows));
                for unknown in &self.unknown {
                    let level = if unknown.is_mistake() { "unknown" } else { "note" };
                    println!("{level}: {}", unknown.words());
                }
                for wrong in &self.wrong {
                    println!("wrong: {}", wrong.message);
                }
                if self.wrong.is_empty() && !self.unknown.iter().any(Unknown::is_mistake) {
                    println!("all settings can be used");
                }
            }
        }
        Ok(())
    }

    /// The exit code of the commands themselves where a value is wrong.
    pub(super) fn exit_code(&self) -> ExitCode {
        let is_mistyped = self.unknown.iter().any(Unknown::is_mistake);
        match (self.wrong.is_empty(), is_mistyped) {
            (false, _) => ExitCode::from(BAD_SETTING),
            (true, true) => ExitCode::from(FAILED),
            (true, false) => ExitCode::SUCCESS,
        }
    }
}
