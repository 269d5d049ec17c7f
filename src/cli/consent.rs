//! The context of a command: which one, whether it may act there, and that it is seen.
//!
//! In a context with `production = true`, a command that destroys something asks for the context's
//! name on a terminal. Anywhere else only `--confirm` with that name is consent: `--yes` is in
//! scripts that were written for other databases.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::Cli;
use super::effects::{self, Effect};
use super::report::USAGE;
use super::settings::without_environment;
use crate::settings::contexts::{self, Context, Place};
use crate::settings::environment::Wanted;
use crate::settings::masking::Shown;

/// The command line as far as it can be understood before the environment is complete: a context
/// decides the database, which may be missing until then.
pub(super) struct FirstLook {
    /// The words of the command.
    pub(super) path: String,
    context: Option<String>,
}

impl FirstLook {
    /// The command line of this process; of one that asks for help, nothing is known.
    pub(super) fn of_process() -> Self {
        let definition = without_environment(Cli::definition()).ignore_errors(true);
        let Ok(matches) = definition.try_get_matches() else {
            return Self { path: String::new(), context: None };
        };
        let (path, leaf) = effects::path_of(&matches);
        let context = leaf.try_get_one::<String>("context").ok().flatten().cloned();
        Self { path, context }
    }

    /// The context to act in.
    pub(super) fn wanted(&self) -> Wanted<'_> {
        let uses_none = effects::of(&self.path) == Effect::Elsewhere || self.path.is_empty();
        match &self.context {
            _ if uses_none => Wanted::None,
            Some(name) => Wanted::Named(name),
            None => Wanted::OfEnvironment,
        }
    }
}

/// The command that was given, as far as consent depends on it.
#[derive(Debug)]
pub(super) struct Asked {
    path: String,
    /// The context that a flag names.
    named: bool,
    names_database: bool,
    is_dry_run: bool,
    /// It brings the schema up to date before it does what it is there for.
    migrates: bool,
    confirmed: Option<String>,
}

impl Asked {
    pub(super) fn of(matches: &ArgMatches, confirmed: Option<String>) -> Self {
        let (path, leaf) = effects::path_of(matches);
        let by_flag = |id: &str| {
            let is_there = leaf.try_contains_id(id).is_ok();
            is_there && leaf.value_source(id) == Some(ValueSource::CommandLine)
        };
        let is_set = |id: &str| leaf.try_get_one(id).ok().flatten() == Some(&true);
        Self {
            path,
            named: by_flag("context"),
            names_database: by_flag("database_url") || by_flag("database_direct_url"),
            is_dry_run: is_set("dry_run"),
            migrates: is_set("migrate"),
            confirmed,
        }
    }

    /// Shows the context and gets consent where it is needed; otherwise gives the exit code of the
    /// refusal.
    ///
    /// # Errors
    ///
    /// When the terminal cannot be read.
    pub(super) fn consent(&self) -> std::io::Result<Result<(), ExitCode>> {
        let effect = self.effect();
        if let Some((error, fix)) = self.contradiction(effect) {
            return Ok(Err(refuse(&error, &fix)));
        }
        let Some(context) = contexts::current() else { return Ok(Ok(())) };
        match effect {
            Effect::Elsewhere => {}
            Effect::Serves => tracing::info!(context = context.name, "in {}", words(context)),
            Effect::Reads | Effect::Changes => eprintln!("in {}", words(context)),
            Effect::Destroys if !context.is_production || self.is_dry_run => {
                eprintln!("in {}", words(context));
            }
            Effect::Destroys => return self.ask(context),
        }
        Ok(Ok(()))
    }

    fn effect(&self) -> Effect {
        match effects::of(&self.path) {
            Effect::Serves if self.migrates => effects::of("migrate run"),
            effect => effect,
        }
    }

    /// Flags that say different things of the database, and the way out.
    fn contradiction(&self, effect: Effect) -> Option<(String, String)> {
        let path = &self.path;
        if self.named && effect == Effect::Elsewhere {
            let error = format!("'app {path}' uses no database of a context");
            return Some((error, "leave --context out".to_owned()));
        }
        let Some(context) = contexts::current() else {
            let error = "--confirm names a context, and the command acts in none".to_owned();
            let fix = "give --context, too, or leave it out".to_owned();
            return self.confirmed.is_some().then_some((error, fix));
        };
        let name = &context.name;
        if self.names_database {
            let error = format!("--database-url and the context '{name}' both name a database");
            let fix = format!("leave out the flag, or --context and {}", contexts::VARIABLE);
            return Some((error, fix));
        }
        let other = self.confirmed.as_ref().filter(|confirmed| *confirmed != name)?;
        let error = format!("--confirm names '{other}', and the context is '{name}'");
        Some((error, "look which one is meant; nothing was done".to_owned()))
    }

    fn ask(&self, context: &Context) -> std::io::Result<Result<(), ExitCode>> {
        let (name, path) = (&context.name, &self.path);
        eprintln!("in {}", words(context));
        if self.confirmed.is_some() {
            return Ok(Ok(()));
        }
        if !std::io::stdin().is_terminal() {
            let error = format!("nothing was done: 'app {path}' in production needs consent");
            let fix = format!("add --confirm {name}, or run it on a terminal");
            return Ok(Err(refuse(&error, &fix)));
        }
        eprint!("'app {path}' acts in production. Type {name} to go on: ");
        std::io::stderr().flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if answer.trim() == name {
            return Ok(Ok(()));
        }
        eprintln!("error: nothing was done: that is not {name}");
        Ok(Err(ExitCode::from(USAGE)))
    }
}

fn refuse(error: &str, fix: &str) -> ExitCode {
    eprintln!("error: {error}\n  fix:   {fix}");
    ExitCode::from(USAGE)
}

/// The context, as people are shown it.
fn words(context: &Context) -> String {
    let kind = if context.is_production { "production context" } else { "context" };
    let url = std::env::var("DATABASE_URL").unwrap_or_default();
    format!("{kind} '{}': {}", context.name, Shown::Place.mask(&url))
}

/// The place of a context's database, as far as it may be seen.
pub(super) fn shown(place: &Place) -> String {
    match place {
        Place::Url(url) => Shown::Place.mask(url),
        Place::File(file) => format!("in {}", file.display()),
    }
}
