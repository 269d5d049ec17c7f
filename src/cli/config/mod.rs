//! `app config`: the settings of this place, and what is wrong with them; without a database.
//!
//! - `check`: every setting with its value and its source, and all that is wrong.
//! - `combinations`: settings that are right alone and wrong together, by the checks that the
//!   commands themselves make at their start.
//! - `example`: the whole `.env.example`.
//! - Here: the commands, and the contexts.
//!
//! It runs before anything else reads the settings, as those that are wrong would end it.

mod check;
mod combinations;
mod example;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::FromArgMatches as _;
use serde::Serialize;

use super::consent::shown;
use super::output::{Output, print_values, table};
use super::{Cli, report, settings};
use crate::settings::contexts;
use crate::settings::environment::{self, EnvironmentError, Wanted};
use crate::stdout;

const EXAMPLES: &str = "\
Examples:
  app config check                                  what holds here, and what is wrong
  app config check -o json | jq '.wrong[].message'
  app config check -- serve --listen 0.0.0.0:8000   the same, with these flags
  app config env > .env                             every setting with its default, to be edited
  app config contexts                               the databases that --context can name

Secrets are never shown, and of URLs no more than host and name. Nothing is connected to.

Exit codes of 'check': 0 all is well, 1 a name is mistyped, 78 a value cannot be used.";

/// Shows the settings, their sources and what is wrong with them; needs no database.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Shows every setting with its value and its source, and all that is wrong with them.
    Check {
        /// A command with its flags, which win over all else.
        #[arg(last = true, value_name = "COMMAND")]
        command: Vec<OsString>,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Prints every setting with its default, as an example of an environment file.
    Env,
    /// Lists the contexts that --context can name.
    Contexts {
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
}

/// The whole process of `app config`.
pub(super) fn main() -> ExitCode {
    // A variable that is wrong for another command is no reason not to tell of it.
    let parsed = settings::without_environment(Cli::definition())
        .try_get_matches()
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = parsed.unwrap_or_else(|error| settings::refuse(&error, &Cli::definition()));
    let super::Command::Config(args) = cli.command else {
        // The first look would have to err for that.
        return ExitCode::from(report::USAGE);
    };
    let context = cli.context.as_deref().map_or(Wanted::OfEnvironment, Wanted::Named);
    let ran = run_in(context, args.command);
    let ended = ran.and_then(|code| stdout::finish().map(|()| code).map_err(Into::into));
    ended.unwrap_or_else(|error| report::error(&error))
}

/// Does what `args` ask for, in a process whose environment is complete already.
///
/// # Errors
///
/// When the file of contexts cannot be read.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    run_in(Wanted::None, args.command)
}

fn run_in(context: Wanted<'_>, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Env => {
            print!("{}", example::example(&Cli::definition()));
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { command, output } => {
            let faults = environment::complete(context);
            let report = check::check(&command, &faults);
            report.print(output)?;
            Ok(report.exit_code())
        }
        Command::Contexts { output } => {
            // The path of their file may stand in `.env`.
            let _faults = environment::complete(Wanted::None);
            list_contexts(context, output)
        }
    }
}

/// A context, as it is listed.
#[derive(Serialize)]
struct ListedContext {
    name: String,
    production: bool,
    /// Without user, password and parameters.
    database: String,
    /// A command that names none acts in it.
    current: bool,
}

fn list_contexts(context: Wanted<'_>, output: Output) -> anyhow::Result<ExitCode> {
    let current = match context {
        Wanted::Named(name) => Some(name.to_owned()),
        Wanted::None | Wanted::OfEnvironment => contexts::named_by_environment(),
    };
    let contexts = contexts::read().map(|(_, contexts)| contexts).or_else(|error| {
        let Some(file) = error.nobody_made_one() else { return Err(EnvironmentError::from(error)) };
        eprintln!("there are no contexts: {file} is not there (docs/configuration.md)");
        Ok(Vec::new())
    })?;
    let listed: Vec<_> = contexts
        .iter()
        .map(|context| ListedContext {
            name: context.name.clone(),
            production: context.is_production,
            database: shown(context.database()),
            current: current.as_ref() == Some(&context.name),
        })
        .collect();
    match output {
        Output::Json | Output::Jsonl => print_values(&listed, output)?,
        Output::Table => {
            let mark = |is_so, mark: &str| if is_so { mark } else { "" }.to_owned();
            let rows: Vec<_> = listed
                .into_iter()
                .map(|it| {
                    let current = mark(it.current, "*");
                    [current, it.name, mark(it.production, "production"), it.database]
                })
                .collect();
            print!("{}", table(["", "CONTEXT", "KIND", "DATABASE"], &rows));
        }
    }
    Ok(ExitCode::SUCCESS)
}
