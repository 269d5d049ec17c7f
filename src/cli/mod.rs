//! The command line: which subcommands there are, how their errors are shown, and with which code
//! the process ends.
//!
//! The arguments of a subcommand live beside what it does, and their doc comments are its help:
//! `dev`, `serve` and `work` are composition roots of their own, the operator's commands are in
//! this folder.

// First, because what follows prints by its macros.
#[macro_use]
mod output;

mod actor;
pub mod archives;
pub mod audit;
pub mod bank;
pub mod completions;
pub mod config;
pub mod conflicts;
mod consent;
mod database;
pub mod dead_letters;
pub mod doctor;
mod effects;
pub mod endpoints;
pub mod failures;
pub mod jobs;
pub mod keys;
mod known_names;
pub mod listen;
pub mod man;
pub mod migrate;
pub mod openapi;
pub mod operations;
mod password_source;
pub mod probe;
pub mod queues;
pub mod reconcile;
pub mod report;
pub mod rotate_job_keys;
pub mod schedules;
pub mod seed;
pub mod send;
mod settings;
pub mod signals;
pub mod timeline;
pub mod top;
pub mod trigger;
pub mod users;
pub mod verify;
pub mod webhooks;
pub mod workers;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use self::consent::{Asked, FirstLook};
use crate::process::ProcessSettings;
use crate::settings::keep_given_by_flag;
use crate::telemetry::{DefaultFilter, LogFormat, TelemetrySettings};
use crate::{dev, process, relay, serve, work};

const EXAMPLES: &str = "\
Examples:
  app dev                       everything in one process, with a PostgreSQL of its own
  app send --count 100          play a payment provider, in another terminal
  app serve --migrate           the API alone, on DATABASE_URL
  app work                      a worker alone; start as many as you like
  app relay                     publish events to NATS or an AMQP broker that there is already
  app bank                      play the bank, in another terminal; it fails on demand
  app listen                    receive webhooks, verify and print them; or fail on demand
  app seed                      demo users with money and a history
  app trigger deposit.failed    make an event happen, for whoever builds a receiver
  app doctor                    what is amiss with the database and the queue, and its fix
  app verify                    check that nothing was lost and nothing applied twice
  app timeline txn_1001         what happened to a transaction or order, from all sources
  app audit list                who did what; verify, prove that nothing of it was changed
  app archives create           move old transfers of providers into files; 'verify' proves them
  app reconcile                 compare the ledger with what the bank says that it did
  app top                       queues, failures and workers in the terminal, live
  app jobs show 812             why has this job not run? 'app jobs' lists and changes jobs
  app failures list             what failed, thousands of one cause as one line
  app operations list           actions on all jobs of a filter, with their progress
  app conflicts list            transactions that came again with other content
  app webhooks rejected         webhooks of providers that were refused; 'check' reads their file
  app queues list               what waits where; 'pause', 'drain' and 'limits' hold it up
  app workers list              who works, in which version; 'drain' ends one in good order
  app dead-letters list         what was given up, for an operator to decide over
  app schedules list            which jobs are enqueued by the clock
  app probe                     is the process of this environment ready? for health checks
  app completions bash          completes all this in a shell, with queues, kinds and ids
  app config check              every setting with its source, and what is wrong with them

Settings can also come from the environment or a .env file; each --help names the variables, and
'app config env' lists all.";

/// Takes payment webhooks, never loses one, and applies each exactly once to a double-entry ledger.
#[derive(Parser, Debug)]
#[command(
    name = "app",
    version,
    about,
    after_help = EXAMPLES,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Cli {
    /// The format of log lines; auto is pretty on a terminal and json elsewhere.
    #[arg(
        long,
        global = true,
        env = "APP_LOG_FORMAT",
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    log_format: LogFormat,

    /// The number of threads that run the tasks of the process; half of the processors if not
    /// given.
    #[arg(long, global = true, env = "APP_THREADS", value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Act on the database of this context: docs/configuration.md.
    #[arg(long, global = true, env = "APP_CONTEXT", value_name = "NAME")]
    context: Option<String>,

    /// Consent to what a command does in the production context of this name, without being asked.
    #[arg(long, global = true, value_name = "CONTEXT")]
    confirm: Option<String>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    // It has the settings of all the others, so it is much larger than they.
    Dev(Box<dev::Args>),
    Serve(serve::Args),
    Work(work::Args),
    Relay(relay::Args),
    Bank(bank::Args),
    Listen(listen::Args),
    Migrate(migrate::Args),
    Users(users::Args),
    Keys(keys::Args),
    Openapi(openapi::Args),
    Seed(seed::Args),
    Trigger(trigger::Args),
    Send(send::Args),
    Doctor(doctor::Args),
    Verify(verify::Args),
    Audit(audit::Args),
    Archives(archives::Args),
    Timeline(timeline::Args),
    Top(top::Args),
    Reconcile(reconcile::Args),
    DeadLetters(dead_letters::Args),
    Endpoints(endpoints::Args),
    Jobs(jobs::Args),
    Failures(failures::Args),
    Operations(operations::Args),
    Conflicts(conflicts::Args),
    Webhooks(webhooks::Args),
    Queues(queues::Args),
    Workers(workers::Args),
    RotateJobKeys(rotate_job_keys::Args),
    Schedules(schedules::Args),
    Probe(probe::Args),
    Completions(completions::Args),
    Man(man::Args),
    Config(config::Args),
}

/// The process of the binary `app`, from its arguments to its exit code.
///
/// Here and not in the binary, because a future is compiled where it is first polled: all of the
/// application's code would be compiled for the binary, after the library.
pub fn main() -> ExitCode {
    // A shell that asks gets its answer and nothing else.
    if completions::answer_if_asked(Cli::definition) {
        return ExitCode::SUCCESS;
    }
    let look = FirstLook::of_process();
    // It tells what is wrong with the settings, so it must not need them.
    if look.path.starts_with("config ") {
        return config::main();
    }
    process::run_in(look.wanted(), || {
        let (mut cli, asked) = Cli::from_process();
        if let Command::Dev(args) = &mut cli.command {
            dev::keep_traces(args);
        }
        let settings = ProcessSettings { telemetry: cli.telemetry(), threads: cli.threads };
        let command = async move {
            match asked.consent()? {
                Ok(()) => cli.run().await,
                Err(refused) => Ok(refused),
            }
        };
        (settings, command)
    })
}

impl Cli {
    /// The command line of this process; ends the process when it cannot be understood.
    fn from_process() -> (Self, Asked) {
        let mut definition = Self::definition();
        // Only then is it known how each argument is shown.
        definition.build();
        settings::warn_of_unknown_names();
        let parsed = Self::definition().try_get_matches().and_then(|matches| {
            let given = settings::given_by_flag(&definition, &matches);
            keep_given_by_flag(given.into_iter().map(|(name, _)| name).collect());
            let cli = Self::from_arg_matches(&matches)?;
            let asked = Asked::of(&matches, cli.confirm.clone());
            Ok((cli, asked))
        });
        parsed.unwrap_or_else(|error| settings::refuse(&error, &definition))
    }

    /// The definition as derived, but with a shorter help of `app dev`, and no values of the
    /// environment in any.
    fn definition() -> clap::Command {
        settings::without_values(Self::command()).mut_subcommand("dev", |dev| {
            dev.mut_args(|arg| match arg.get_help_heading() {
                Some(dev::SERVE_SETTINGS | dev::WORK_SETTINGS | dev::BANK_SETTINGS) => {
                    arg.hide(true)
                }
                _ => arg,
            })
        })
    }

    /// The telemetry settings of this command.
    pub fn telemetry(&self) -> TelemetrySettings {
        let (service_name, log_format, default_filter) = match &self.command {
            Command::Dev(_) => ("surety-dev", self.log_format.for_dev(), DefaultFilter::Dev),
            Command::Serve(_) => ("surety-serve", self.log_format, DefaultFilter::Service),
            Command::Work(_) => ("surety-work", self.log_format, DefaultFilter::Service),
            Command::Relay(_) => ("surety-relay", self.log_format, DefaultFilter::Service),
            Command::Bank(_) => ("surety-bank", self.log_format, DefaultFilter::Service),
            Command::Listen(_)
            | Command::Migrate(_)
            | Command::Users(_)
            | Command::Keys(_)
            | Command::Openapi(_)
            | Command::Seed(_)
            | Command::Trigger(_)
            | Command::Send(_)
            | Command::Doctor(_)
            | Command::Verify(_)
            | Command::Audit(_)
            | Command::Archives(_)
            | Command::Timeline(_)
            | Command::Top(_)
            | Command::Reconcile(_)
            | Command::DeadLetters(_)
            | Command::Endpoints(_)
            | Command::Jobs(_)
            | Command::Failures(_)
            | Command::Operations(_)
            | Command::Conflicts(_)
            | Command::Webhooks(_)
            | Command::Queues(_)
            | Command::Workers(_)
            | Command::RotateJobKeys(_)
            | Command::Schedules(_)
            | Command::Probe(_)
            | Command::Completions(_)
            | Command::Man(_)
            | Command::Config(_) => ("surety-cli", self.log_format, DefaultFilter::Command),
        };
        TelemetrySettings { service_name, log_format, default_filter }
    }

    /// Runs the command to its end.
    ///
    /// # Errors
    ///
    /// Whatever keeps the command from its work; [`report::error`] shows it.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            // These run until a signal, and end in good order.
            Command::Dev(args) => dev::run_command(*args, signals::shutdown()?).await?,
            Command::Serve(args) => {
                let (shutdown, hangups) = signals::shutdown_or_reload()?;
                serve::run_command(args, shutdown, hangups).await?;
            }
            Command::Work(args) => {
                let (shutdown, hangups) = signals::shutdown_or_reload()?;
                work::run_command(args, shutdown, hangups).await?;
            }
            Command::Relay(args) => relay::run_command(args, signals::shutdown()?).await?,
            Command::Bank(args) => bank::run_command(args, signals::shutdown()?).await?,
            Command::Listen(args) => listen::run_command(args, signals::shutdown()?).await?,
            // These end by themselves, and a signal ends them at once.
            Command::Migrate(args) => return migrate::run(args).await,
            Command::Users(args) => return users::run(args).await,
            Command::Keys(args) => return keys::run(args).await,
            Command::Openapi(args) => return openapi::run(args).await,
            Command::Seed(args) => return seed::run(args).await,
            Command::Trigger(args) => return trigger::run(args).await,
            Command::Send(args) => return send::run(args).await,
            Command::Doctor(args) => return doctor::run(args).await,
            Command::Verify(args) => return verify::run(args).await,
            Command::Audit(args) => return audit::run(args).await,
            Command::Archives(args) => return archives::run(args).await,
            Command::Timeline(args) => return timeline::run(args).await,
            Command::Top(args) => return top::run(args).await,
            Command::Reconcile(args) => return reconcile::run(args).await,
            Command::DeadLetters(args) => return dead_letters::run(args).await,
            Command::Endpoints(args) => return endpoints::run(args).await,
            Command::Jobs(args) => return jobs::run(args).await,
            Command::Failures(args) => return failures::run(args).await,
            Command::Operations(args) => return operations::run(args).await,
            Command::Conflicts(args) => return conflicts::run(args).await,
            Command::Webhooks(args) => return webhooks::run(args).await,
            Command::Queues(args) => return queues::run(args).await,
            Command::Workers(args) => return workers::run(args).await,
            Command::RotateJobKeys(args) => return rotate_job_keys::run(args).await,
            Command::Schedules(args) => return schedules::run(args).await,
            Command::Probe(args) => return probe::run(args).await,
            Command::Completions(args) => return completions::run(args).await,
            Command::Man(args) => return man::run(args).await,
            Command::Config(args) => return config::run(args),
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::definition().debug_assert();
    }
}
