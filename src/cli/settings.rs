//! Settings as a whole: values that cannot be used, and names that nobody knows.
//!
//! A value that comes from the environment or from `.env` is never shown, also where it is refused:
//! it may be a secret, in the wrong variable or mistyped. What was typed as a flag is on the screen
//! already.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::Write as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

use super::environment;
use crate::arguments::{InvalidAddress, InvalidDuration, InvalidMoment};

/// Settings that are no flags, but read by name.
const WITHOUT_FLAG: [&str; 2] = ["APP_LOG", "APP_PG_BIN"];
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

/// The names of all settings, those of subcommands among them.
fn known_names(command: &Command) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = args_of(command)
        .iter()
        .filter_map(|arg| Some(arg.get_env()?.to_str()?.to_owned()))
        .collect();
    names.extend(environment::URLS.map(|url| format!("{url}_FILE")));
    names.extend(WITHOUT_FLAG.map(str::to_owned));
    names
}

fn args_of(command: &Command) -> Vec<&Arg> {
    command.get_arguments().chain(command.get_subcommands().flat_map(args_of)).collect()
}

/// Warns of variables that look like settings and are none: a mistyped name leaves the default in
/// force, without a word.
pub(super) fn warn_of_unknown_names(command: &Command) {
    let known = known_names(command);
    let given = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for warning in given.filter_map(|name| warning_of(&name, &known)) {
        // Before there are any logs.
        eprint!("{warning}");
    }
}

fn warning_of(name: &str, known: &BTreeSet<String>) -> Option<String> {
    if !name.starts_with(PREFIX) || known.contains(name) {
        return None;
    }
    let likeness = |known: &&String| strsim::normalized_damerau_levenshtein(known, name);
    let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    Some(match likeness(&nearest) >= LIKENESS {
        true => format!("warning: {name} is no setting: did you mean {nearest}?\n"),
        false => format!("warning: {name} is no setting; .env.example lists all\n"),
    })
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
    let possible = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) => Some(format!("expected {}", values.join(", "))),
        _ => None,
    };
    let reason = error.source().filter(|it| is_ours(*it) || !tells_of(&it.to_string(), value));
    let reason = reason.map(ToString::to_string).or(possible);
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    Some(format!(
        "error: the value of {variable} (--{flag}) cannot be used{reason}\n\n\
         It is not shown, as it may be secret. For more information, try '--help'.\n"
    ))
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
    use super::super::Cli;
    use super::*;

    #[test]
    fn names_that_nobody_knows_are_told_with_the_nearest_known_one() {
        let known = known_names(&Cli::definition());
        for (name, nearest) in [
            ("APP_LISTN", Some("APP_LISTEN")),
            ("APP_WEBHOOK_SECRET", Some("APP_WEBHOOK_SECRETS")),
            ("APP_WEBHOK_SECRETS_FILE", Some("APP_WEBHOOK_SECRETS_FILE")),
            ("APP_LOGIN_LIMIT_ACCOUNT", None),
            ("APP_SOMETHING_ELSE", None),
        ] {
            let warning = warning_of(name, &known).expect(name);
            match nearest {
                Some(nearest) => assert!(warning.contains(&format!("{nearest}?")), "{warning}"),
                None => assert!(warning.contains(name), "{warning}"),
            }
        }
        for name in known.iter().map(String::as_str).chain(["PATH", "OTEL_ANYTHING", "APPLE"]) {
            assert_eq!(warning_of(name, &known), None);
        }
    }
}
