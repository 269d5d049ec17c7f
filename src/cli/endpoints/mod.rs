//! `app endpoints`: flags, tables and exit codes of the
//! [operations on endpoints](crate::operations::endpoints) and their deliveries.

mod deliveries;
mod settings;

use std::process::ExitCode;
use std::time::Duration;

use crate::arguments::parse_duration;
use sqlx::PgPool;
use uuid::Uuid;

use self::deliveries::DeliveriesCommand;
use self::settings::SettingArgs;
use super::actor::NameArg;
use super::database::Database;
use super::output::{Output, moment, table};
use super::report::{CONFLICT, NOT_FOUND, USAGE};
use crate::operations::endpoints::{
    self, EndpointError, EndpointId, EndpointSecrets, EndpointView, Guard, ReachArgs, Safeguards,
    Scope, SecretView, UserId,
};
use crate::operations::job_keys::JobKeyArgs;

const APPLICATION: &str = "surety-endpoints";

const EXAMPLES: &str = "\
Examples:
  app endpoints create https://example.com/hooks --event transfer.completed --event transfer.failed
  app endpoints list
  app endpoints update 019a… --ordered true --rate 50
  app endpoints rotate-secret 019a… --overlap 24h
  app endpoints test 019a…
  app endpoints deliveries list 019a… --state failed
  app endpoints deliveries replay 019a… --since 2026-11-28T00:00:00Z --dry-run

An endpoint without --user is told everybody's events; one with it what concerns that user.
Secrets are printed once, when they are made.

Exit codes: 0 done, 1 failed, 2 usage, 3 no such endpoint or delivery, 5 not possible as things
stand, 7 database unreachable, 8 schema mismatch.";

/// Says who is told of what by webhooks, and sends them again.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// The output format.
#[derive(clap::Args, Debug)]
struct OutputArg {
    /// The output format.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// One endpoint.
#[derive(clap::Args, Debug)]
struct One {
    #[command(flatten)]
    database: Database,
    /// The id of the endpoint.
    endpoint: Uuid,
    #[command(flatten)]
    output: OutputArg,
}

/// One endpoint that is to be changed, and by whom.
#[derive(clap::Args, Debug)]
struct Changed {
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    by: NameArg,
}

/// Where webhooks may be sent, and what secrets are sealed with.
#[derive(clap::Args, Debug)]
struct SafeguardArgs {
    #[command(flatten)]
    reach: ReachArgs,
    #[command(flatten)]
    keys: JobKeyArgs,
}

impl SafeguardArgs {
    fn read(&self) -> anyhow::Result<Safeguards> {
        let secrets = EndpointSecrets::new(self.keys.keyring()?);
        Ok(Safeguards { guard: Guard::new(self.reach.reach()), secrets })
    }
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Makes an endpoint, and prints its secret.
    Create {
        #[command(flatten)]
        database: Database,
        /// The address to send to.
        url: String,
        /// The user whose events are sent. [default: everybody's]
        #[arg(long, value_name = "UUID")]
        user: Option<Uuid>,
        #[command(flatten)]
        settings: SettingArgs,
        #[command(flatten)]
        safeguards: SafeguardArgs,
        #[command(flatten)]
        by: NameArg,
        #[command(flatten)]
        output: OutputArg,
    },
    /// Lists endpoints, newest first.
    List {
        #[command(flatten)]
        database: Database,
        /// Only those of this user.
        #[arg(long, value_name = "UUID")]
        user: Option<Uuid>,
        /// The most that are listed.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
        limit: u16,
        #[command(flatten)]
        output: OutputArg,
    },
    /// Shows an endpoint.
    Show(One),
    /// Changes an endpoint; what is not given stays.
    Update {
        #[command(flatten)]
        changed: Changed,
        /// The address to send to.
        #[arg(long)]
        url: Option<String>,
        #[command(flatten)]
        settings: SettingArgs,
        #[command(flatten)]
        safeguards: SafeguardArgs,
    },
    /// Sends nothing more to an endpoint until it is enabled.
    Disable(Changed),
    /// Sends to an endpoint again, as if it had never failed.
    Enable(Changed),
    /// Deletes an endpoint; what was sent to it stays on record.
    Delete {
        #[command(flatten)]
        database: Database,
        /// The id of the endpoint.
        endpoint: Uuid,
        #[command(flatten)]
        by: NameArg,
    },
    /// Makes a new secret, and prints it.
    RotateSecret {
        #[command(flatten)]
        changed: Changed,
        /// The time for which the old one signs, too; 0s when others know it.
        #[arg(long, default_value = "24h", value_parser = parse_duration)]
        overlap: Duration,
        #[command(flatten)]
        keys: JobKeyArgs,
    },
    /// Sends a test event to an endpoint.
    Test(One),
    /// Deliveries to an endpoint.
    #[command(subcommand)]
    Deliveries(DeliveriesCommand),
}

/// Does what `args` ask for.
///
/// # Errors
///
/// When the database cannot be reached or refuses.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Create { database, url, user, settings, safeguards, by, output } => {
            let safeguards = safeguards.read()?;
            let pool = database.connect_current(APPLICATION).await?;
            let (owner, change) = (user.map(UserId), settings.into_change(Some(url)));
            let created =
                endpoints::create(&pool, &safeguards, owner, change, &by.identity()).await;
            end(created.map(|(endpoint, secret)| print_secret(&endpoint, &secret, output.output)))
        }
        Command::List { database, user, limit, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            let scope = user.map_or(Scope::All, |user| Scope::Of(UserId(user)));
            end(endpoints::list(&pool, scope, None, limit).await.map(|it| list(&it, output.output)))
        }
        Command::Show(one) => {
            let (pool, id, output) = one.open().await?;
            end(endpoints::find(&pool, Scope::All, id).await.map(|it| show(&it, output)))
        }
        Command::Update { changed: Changed { one, by }, url, settings, safeguards } => {
            let (safeguards, change) = (safeguards.read()?, settings.into_change(url));
            let (pool, id, output) = one.open().await?;
            let by = by.identity();
            let updated = endpoints::update(&pool, &safeguards, Scope::All, id, change, &by).await;
            end(updated.map(|endpoint| show(&endpoint, output)))
        }
        Command::Disable(changed) => switch(changed, false).await,
        Command::Enable(changed) => switch(changed, true).await,
        Command::Delete { database, endpoint, by } => {
            let pool = database.connect_current(APPLICATION).await?;
            let (id, by) = (EndpointId(endpoint), by.identity());
            let deleted = endpoints::delete(&pool, Scope::All, id, &by).await;
            end(deleted.map(|()| println!("endpoint {endpoint} is deleted")))
        }
        Command::RotateSecret { changed: Changed { one, by }, overlap, keys } => {
            let (sealing, by) = (EndpointSecrets::new(keys.keyring()?), by.identity());
            let (pool, id, output) = one.open().await?;
            let rotated =
                endpoints::rotate_secret(&pool, &sealing, Scope::All, id, overlap, &by).await;
            match rotated {
                Ok(secret) => {
                    let found = endpoints::find(&pool, Scope::All, id).await;
                    end(found.map(|endpoint| print_secret(&endpoint, &secret, output)))
                }
                Err(error) => end(Err(error)),
            }
        }
        Command::Test(one) => deliveries::test(one).await,
        Command::Deliveries(command) => deliveries::run(command).await,
    }
}

impl One {
    async fn open(self) -> anyhow::Result<(PgPool, EndpointId, Output)> {
        let pool = self.database.connect_current(APPLICATION).await?;
        Ok((pool, EndpointId(self.endpoint), self.output.output))
    }
}

async fn switch(Changed { one, by }: Changed, is_enabled: bool) -> anyhow::Result<ExitCode> {
    let (pool, id, output) = one.open().await?;
    let switched = endpoints::switch(&pool, Scope::All, id, is_enabled, &by.identity()).await;
    end(switched.map(|endpoint| show(&endpoint, output)))
}

/// The exit code; what is refused is said.
fn end(ended: Result<(), EndpointError>) -> anyhow::Result<ExitCode> {
    let (code, refusal) = match ended {
        Ok(()) => return Ok(ExitCode::SUCCESS),
        Err(error @ EndpointError::NotFound) => (NOT_FOUND, error),
        Err(error @ EndpointError::TooMany(_)) => (CONFLICT, error),
        Err(error @ EndpointError::Refused(_)) => (USAGE, error),
        Err(error) => return Err(error.into()),
    };
    eprintln!("error: {refusal}");
    Ok(ExitCode::from(code))
}

fn list(endpoints: &[EndpointView], output: Output) {
    match output {
        Output::Table => {
            let rows: Vec<_> = endpoints.iter().map(row).collect();
            print!("{}", table(["ENDPOINT", "OF", "ADDRESS", "EVENTS", "STATE"], &rows));
        }
        Output::Json => println!("{}", serde_json::json!(endpoints)),
        Output::Jsonl => endpoints.iter().for_each(|it| println!("{}", serde_json::json!(it))),
    }
}

fn row(endpoint: &EndpointView) -> [String; 5] {
    let owner = endpoint.owner_id.map_or_else(|| "operators".to_owned(), |id| id.to_string());
    let events = endpoint.event_types.join(" ");
    [endpoint.id.to_string(), owner, endpoint.place(), events, state(endpoint)]
}

fn state(endpoint: &EndpointView) -> String {
    match (&endpoint.disabled_reason, endpoint.failures) {
        (Some(reason), _) => format!("disabled ({reason})"),
        (None, 0) => "enabled".to_owned(),
        (None, failures) => format!("failing ({failures} in a row)"),
    }
}

fn show(endpoint: &EndpointView, output: Output) {
    if output != Output::Table {
        println!("{}", serde_json::json!(endpoint));
        return;
    }
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    println!("endpoint {} is {}", endpoint.id, state(endpoint));
    for (name, value) in [
        ("url", endpoint.url.clone()),
        ("of", endpoint.owner_id.map_or_else(|| "operators".to_owned(), |id| id.to_string())),
        ("description", or_none(endpoint.description.clone())),
        ("events", endpoint.event_types.join(" ")),
        ("headers", or_none(Some(endpoint.header_names.join(" ")).filter(|it| !it.is_empty()))),
        ("metadata", endpoint.metadata.to_string()),
        ("timeout", format!("{} ms", endpoint.timeout_ms)),
        ("rate", endpoint.rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate}/s"))),
        ("ordered", if endpoint.ordered { "yes" } else { "no" }.to_owned()),
        ("public key", or_none(endpoint.public_key.clone())),
        ("failing since", moment(endpoint.failing_since)),
        ("resting until", moment(endpoint.resting_until)),
        ("made", moment(Some(endpoint.created_at))),
        ("changed", moment(Some(endpoint.updated_at))),
    ] {
        println!("{name:14} {value}");
    }
}

fn print_secret(endpoint: &EndpointView, secret: &SecretView, output: Output) {
    let secret = secret.reveal();
    if output != Output::Table {
        println!("{}", serde_json::json!({ "endpoint": endpoint, "secret": secret }));
        return;
    }
    show(endpoint, output);
    println!("\nsecret         {secret}\nIt is not shown again.");
}
