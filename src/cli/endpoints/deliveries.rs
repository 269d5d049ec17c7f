//! `app endpoints deliveries` and `app endpoints test`.

use std::process::ExitCode;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::{APPLICATION, One, OutputArg};
use crate::cli::actor::NameArg;
use crate::cli::database::Database;
use crate::cli::output::{Output, moment, table};
use crate::cli::report::{CONFLICT, NOT_FOUND};
use crate::operations::endpoints::EndpointId;
use crate::operations::endpoints::deliveries::{
    self, AttemptView, DeliveryError, DeliveryState, DeliveryView, Replay, ReplayView, Scope,
    parse_event_id,
};
use crate::operations::jobs::JobId;
use crate::operations::{Identity, wake_workers};

#[derive(clap::Subcommand, Debug)]
pub(super) enum DeliveriesCommand {
    /// Lists the deliveries to an endpoint, the newest event first.
    List {
        #[command(flatten)]
        one: One,
        /// Only those in this state.
        #[arg(long, value_enum)]
        state: Option<StateArg>,
        /// The most that are listed.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
        limit: u16,
    },
    /// Shows a delivery with its attempts.
    Show(OneDelivery),
    /// Sends a delivery again, whatever came of it.
    Retry {
        #[command(flatten)]
        one: OneDelivery,
        #[command(flatten)]
        name: NameArg,
    },
    /// Sends many deliveries again: those that failed, or all since a moment.
    Replay {
        #[command(flatten)]
        one: One,
        /// Everything since this moment (RFC 3339), delivered before or not. [default: what failed]
        #[arg(long, value_parser = read_moment)]
        since: Option<OffsetDateTime>,
        /// Only count.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        name: NameArg,
    },
    /// Shows how far a replay is.
    ReplayStatus {
        #[command(flatten)]
        one: One,
        /// The number of the replay.
        replay: i64,
    },
    /// Stops a replay; what it has asked for is sent.
    CancelReplay {
        #[command(flatten)]
        one: One,
        /// The number of the replay.
        replay: i64,
        #[command(flatten)]
        name: NameArg,
    },
}

/// One delivery.
#[derive(clap::Args, Debug)]
pub(super) struct OneDelivery {
    #[command(flatten)]
    database: Database,
    /// The id of the endpoint.
    endpoint: Uuid,
    /// The id of the event, 'evt_…'.
    event: String,
    #[command(flatten)]
    output: OutputArg,
}

/// The state of a delivery.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum StateArg {
    /// To be tried, or tried again.
    Pending,
    /// Taken by the endpoint.
    Delivered,
    /// Given up.
    Failed,
}

impl From<StateArg> for DeliveryState {
    fn from(state: StateArg) -> Self {
        match state {
            StateArg::Pending => Self::Pending,
            StateArg::Delivered => Self::Delivered,
            StateArg::Failed => Self::Failed,
        }
    }
}

fn read_moment(text: &str) -> Result<OffsetDateTime, String> {
    let example = "it is no moment such as 2026-11-28T00:00:00Z";
    OffsetDateTime::parse(text, &Rfc3339).map_err(|_| example.to_owned())
}

pub(super) async fn run(command: DeliveriesCommand) -> anyhow::Result<ExitCode> {
    match command {
        DeliveriesCommand::List { one, state, limit } => {
            let (pool, id, output) = one.open().await?;
            let mut conn = pool.acquire().await?;
            let state = state.map(Into::into);
            let found = deliveries::list(&mut conn, Scope::All, id, state, None, limit).await;
            end(found.map(|found| print_list(&found, output)))
        }
        DeliveriesCommand::Show(one) => show(one).await,
        DeliveriesCommand::Retry { one, name } => retry(one, &name.identity()).await,
        DeliveriesCommand::Replay { one, since, dry_run, name } => {
            let what = since.map_or(Replay::Failed, Replay::Since);
            replay(one, what, dry_run, &name.identity()).await
        }
        DeliveriesCommand::ReplayStatus { one, replay } => {
            let (pool, id, output) = one.open().await?;
            let mut conn = pool.acquire().await?;
            let found = deliveries::find_replay(&mut conn, Scope::All, id, JobId(replay)).await;
            end(found.map(|found| print_replay(&found, output)))
        }
        DeliveriesCommand::CancelReplay { one, replay, name } => {
            let (pool, id, output) = one.open().await?;
            let by = name.identity();
            let cancelled =
                deliveries::cancel_replay(&pool, Scope::All, id, JobId(replay), &by).await;
            end(cancelled.map(|cancelled| print_replay(&cancelled, output)))
        }
    }
}

pub(super) async fn test(one: One) -> anyhow::Result<ExitCode> {
    let (pool, id, output) = one.open().await?;
    let sent = deliveries::send_test(&pool, Scope::All, id).await;
    wake_workers(&pool).await;
    end(sent.map(|event| match output {
        Output::Table => println!("event {event} is on its way"),
        Output::Json | Output::Jsonl => println!("{}", serde_json::json!({ "event_id": event })),
    }))
}

async fn show(one: OneDelivery) -> anyhow::Result<ExitCode> {
    let pool = one.database.connect_current(APPLICATION).await?;
    let mut conn = pool.acquire().await?;
    let found = match parse_event_id(&one.event) {
        Some(event) => {
            deliveries::find(&mut conn, Scope::All, EndpointId(one.endpoint), event).await
        }
        None => Err(DeliveryError::NotFound),
    };
    end(found.map(|(delivery, attempts)| match one.output.output {
        Output::Table => print_details(&delivery, &attempts),
        Output::Json | Output::Jsonl => {
            let found = serde_json::json!({ "delivery": delivery, "attempts": attempts });
            println!("{found}");
        }
    }))
}

async fn retry(one: OneDelivery, by: &Identity) -> anyhow::Result<ExitCode> {
    let pool = one.database.connect_current(APPLICATION).await?;
    let retried = match parse_event_id(&one.event) {
        Some(event) => {
            deliveries::retry(&pool, Scope::All, EndpointId(one.endpoint), event, by).await
        }
        None => Err(DeliveryError::NotFound),
    };
    wake_workers(&pool).await;
    end(retried.map(|delivery| match one.output.output {
        Output::Table => println!("event {} is on its way again", delivery.event_id),
        Output::Json | Output::Jsonl => println!("{}", serde_json::json!(delivery)),
    }))
}

async fn replay(
    one: One,
    replay: Replay,
    dry_run: bool,
    by: &Identity,
) -> anyhow::Result<ExitCode> {
    let (pool, id, output) = one.open().await?;
    if dry_run {
        let mut conn = pool.acquire().await?;
        let counted = deliveries::count_replay(&mut conn, Scope::All, id, replay).await;
        return end(counted.map(|counted| match output {
            Output::Table => {
                let more = if counted.is_capped { " or more" } else { "" };
                println!("{}{more} deliveries would be sent again", counted.count);
            }
            Output::Json | Output::Jsonl => println!("{}", serde_json::json!(counted)),
        }));
    }
    let begun = deliveries::replay(&pool, Scope::All, id, replay, by).await;
    wake_workers(&pool).await;
    match begun {
        Ok(job) => {
            let mut conn = pool.acquire().await?;
            let found = deliveries::find_replay(&mut conn, Scope::All, id, job).await;
            end(found.map(|found| print_replay(&found, output)))
        }
        Err(error) => end(Err(error)),
    }
}

/// The exit code; what is refused is said.
fn end(ended: Result<(), DeliveryError>) -> anyhow::Result<ExitCode> {
    let (code, refusal) = match ended {
        Ok(()) => return Ok(ExitCode::SUCCESS),
        Err(error @ (DeliveryError::NoSuchEndpoint | DeliveryError::NotFound)) => {
            (NOT_FOUND, error)
        }
        Err(error @ (DeliveryError::Disabled | DeliveryError::Pending)) => (CONFLICT, error),
        Err(error) => return Err(error.into()),
    };
    eprintln!("error: {refusal}");
    Ok(ExitCode::from(code))
}

fn print_list(found: &[DeliveryView], output: Output) {
    match output {
        Output::Table => {
            let rows = found.iter().map(|delivery| {
                [
                    delivery.event_id.clone(),
                    delivery.event_type.clone(),
                    delivery.state.to_owned(),
                    delivery.attempts.to_string(),
                    moment(Some(delivery.created_at)),
                    delivery.reason.clone().unwrap_or_else(|| "-".to_owned()),
                ]
            });
            let header = ["EVENT", "TYPE", "STATE", "ATTEMPTS", "MADE", "REASON"];
            print!("{}", table(header, &rows.collect::<Vec<_>>()));
        }
        Output::Json => println!("{}", serde_json::json!(found)),
        Output::Jsonl => found.iter().for_each(|it| println!("{}", serde_json::json!(it))),
    }
}

fn print_details(delivery: &DeliveryView, attempts: &[AttemptView]) {
    let reason = delivery.reason.as_deref().map(|it| format!(": {it}")).unwrap_or_default();
    let (event, kind, state) = (&delivery.event_id, &delivery.event_type, delivery.state);
    println!("event {event} ({kind}) to {} is {state}{reason}", delivery.endpoint_id);
    let rows = attempts.iter().map(|attempt| {
        let trouble = attempt.detail.clone().or_else(|| attempt.error.clone());
        [
            moment(Some(attempt.at)),
            attempt.status.map_or_else(|| "-".to_owned(), |status| status.to_string()),
            format!("{} ms", attempt.duration_ms),
            attempt.address.clone().unwrap_or_else(|| "-".to_owned()),
            trouble.unwrap_or_else(|| attempt.answer.chars().take(60).collect()),
        ]
    });
    let header = ["ATTEMPT", "STATUS", "TOOK", "ADDRESS", "ANSWER OR TROUBLE"];
    print!("{}", table(header, &rows.collect::<Vec<_>>()));
}

fn print_replay(replay: &ReplayView, output: Output) {
    if output != Output::Table {
        println!("{}", serde_json::json!(replay));
        return;
    }
    let progress = replay.progress_text.as_deref().map(|it| format!(": {it}")).unwrap_or_default();
    println!("replay {} is {}{progress}", replay.job_id, replay.state);
}
