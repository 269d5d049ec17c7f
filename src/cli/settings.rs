//! Settings as a whole: values that cannot be used, and names that nobody knows.
//!
//! A value that comes from the environment or from `.env` is never shown, also where it is refused:
//! it may be a secret, in the wrong variable or mistyped. What was typed as a flag is on the screen
//! already.

use std::error::Error;
use std::io::Write as _;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use crate::arguments::{InvalidAddress, InvalidDuration, InvalidMoment};
use crate::settings::table;

/// The prefix of all names that are ours alone.
const PREFIX: &str = "APP_";
/// A name that is less like it is no suggestion.
const LIKENESS: f64 = 0.7;
/// The fewest characters that tell something of a value.
const TELLING_CHARS: usize = 3;
/// Parts of values that tell nothing.
const SCHEMES: [&str; 2] = ["http", "https"];

/// The command with no value of the environment in its help.
pub(super) fn without_values(command: Command) -> Command {
    command.mut_args(|arg| arg.hide_env_values(true)).mut_subcommands(without_values)
}

/// The command as if no variable were set.
pub(super) fn without_environment(command: Command) -> Command {
    let command = command.mut_args(|arg| arg.env(Resettable::Reset));
    command.mut_subcommands(without_environment)
}

/// The arguments of a command and of all its subcommands.
pub(super) fn args_of(command: &Command) -> Vec<&Arg> {
    command.get_arguments().chain(command.get_subcommands().flat_map(args_of)).collect()
}

/// Settings that the command line itself gives, with their values as they stand there.
pub(super) fn given_by_flag(command: &Command, matches: &ArgMatches) -> Vec<(String, String)> {
    let mut given = Vec::new();
    for arg in command.get_arguments() {
        let Some(name) = arg.get_env().and_then(|name| name.to_str()) else { continue };
        let id = arg.get_id().as_str();
        if matches.value_source(id) == Some(ValueSource::CommandLine) {
            let values = matches.get_raw(id).into_iter().flatten();
            let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
            given.push((name.to_owned(), values.join(",")));
        }
    }
    if let Some((name, matches)) = matches.subcommand()
        && let Some(command) = command.find_subcommand(name)
    {
        given.extend(given_by_flag(command, matches));
    }
    given
}

/// Warns of variables that look like settings and are none: a mistyped name leaves the default in
/// force, without a word.
pub(super) fn warn_of_unknown_names() {
    let given = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for warning in given.filter(|name| name.starts_with(PREFIX)).filter_map(|it| warning_of(&it)) {
        // Before there are any logs.
        eprint!("{warning}");
    }
}

fn warning_of(name: &str) -> Option<String> {
    if is_known(name) {
        return None;
    }
    Some(match nearest(name) {
        Some(nearest) => format!("warning: {name} is no setting: did you mean {nearest}?\n"),
        None => format!("warning: {name} is no setting; .env.example lists all\n"),
    })
}

/// Tells whether a variable is a setting.
pub(super) fn is_known(name: &str) -> bool {
    table::find(name).is_some() || table::general(name).is_some()
}

/// The setting whose name is most like this one, if it is like it.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let likeness = |known: &&str| strsim::normalized_damerau_levenshtein(known, name);
    let names = table::all().map(|setting| setting.name);
    let nearest = names.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&nearest) >= LIKENESS).then_some(nearest)
}

/// Ends the process as clap does, but shows no value of the environment.
pub(super) fn refuse(error: &clap::Error, command: &Command) -> ! {
    if !error.use_stderr() {
        // Help, or the version.
        let written = error.print().and_then(|()| std::io::stdout().flush());
        match written {
            Err(lost) if lost.kind() != std::io::ErrorKind::BrokenPipe => {
                eprintln!("error: not all of the output could be written\n  cause: {lost}");
                std::process::exit(i32::from(super::report::FAILED));
            }
            _ => std::process::exit(0),
        }
    }
    let Some(text) = refusal_of_variable(error, command) else { error.exit() };
    eprint!("{text}");
    std::process::exit(i32::from(super::report::BAD_SETTING))
}

/// The text for a refused value that a variable holds; `None` for everything else.
fn refusal_of_variable(error: &clap::Error, command: &Command) -> Option<String> {
    if !matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) {
        return None;
    }
    let Some(ContextValue::String(shown_arg)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue) else {
        return None;
    };
    let args = args_of(command).into_iter().filter(|arg| arg.to_string() == *shown_arg);
    let names = args.filter_map(|arg| Some((arg.get_env()?.to_str()?, arg.get_long()?)));
    let (variable, flag) = names.into_iter().find(|(name, _)| {
        std::env::var_os(name).is_some_and(|it| it.to_string_lossy().contains(value))
    })?;
    let refusal = refusal_of(error, value, variable, flag);
    Some(format!(
        "error: {refusal}\n\n\
         It is not shown, as it may be secret. For more information, try '--help'.\n"
    ))
}

/// The sentence for a value that a variable holds and that clap has refused.
pub(super) fn refusal_of(error: &clap::Error, value: &str, variable: &str, flag: &str) -> String {
    let possible = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) => Some(format!("expected {}", values.join(", "))),
        _ => None,
    };
    let reason = error.source().filter(|it| is_ours(*it) || !tells_of(&it.to_string(), value));
    let reason = reason.map(ToString::to_string).or(possible);
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("the value of {variable} (--{flag}) cannot be used{reason}")
}

/// Errors that never repeat what was given, though their examples may look like it.
fn is_ours(error: &(dyn Error + 'static)) -> bool {
    error.is::<InvalidAddress>() || error.is::<InvalidDuration>() || error.is::<InvalidMoment>()
}

/// Tells whether a part of the value stands in the text.
fn tells_of(text: &str, value: &str) -> bool {
    let parts = value.split(|c: char| !c.is_alphanumeric());
    let telling = |part: &&str| part.chars().count() >= TELLING_CHARS && !SCHEMES.contains(part);
    parts.filter(telling).any(|part| text.contains(part))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::super::Cli;
    use super::*;
    use crate::settings::masking::Shown;

    #[test]
    fn every_flag_with_a_variable_is_in_the_table_and_the_other_way_round() {
        let command = Cli::command();
        let args = args_of(&command);
        let is_flag =
            |name: &str| args.iter().any(|arg| arg.get_env().is_some_and(|it| it == name));
        for arg in args.iter().filter(|arg| arg.get_env().is_some()) {
            let name = arg.get_env().and_then(|name| name.to_str()).expect("it is ASCII");
            let setting = table::find(name).unwrap_or_else(|| panic!("{name} is not in the table"));
            assert!(setting.is_flag(), "{name} is a flag");
            let is_secret = arg.is_hide_env_values_set();
            assert!(!is_secret || setting.shown != Shown::Whole, "{name} may hold a secret");
        }
        for setting in table::all() {
            assert_eq!(setting.is_flag(), is_flag(setting.name), "{}", setting.name);
        }
    }

    #[test]
    fn names_that_nobody_knows_are_told_with_the_nearest_known_one() {
        for (name, nearest) in [
            ("APP_LISTN", Some("APP_LISTEN")),
            ("APP_WEBHOOK_SECRET", Some("APP_WEBHOOK_SECRETS")),
            ("APP_WEBHOK_SECRETS_FILE", Some("APP_WEBHOOK_SECRETS_FILE")),
            ("APP_LOGIN_LIMIT_ACCOUNT", None),
            ("APP_SOMETHING_ELSE", None),
        ] {
            let warning = warning_of(name).expect(name);
            match nearest {
                Some(nearest) => assert!(warning.contains(&format!("{nearest}?")), "{warning}"),
                None => assert!(warning.contains(name), "{warning}"),
            }
        }
        for setting in table::all() {
            assert_eq!(warning_of(setting.name), None);
        }
    }
}
