//! What a queue looks like.

use std::process::ExitCode;

use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use super::limits;
use crate::cli::output::{Output, moment, table};
use crate::cli::report::NOT_FOUND;
use crate::queue::health::span;
use crate::queue::operate::queues::{self, BlockCause, BlockedKey, COUNT_CAP, Pause, QueueSummary};

/// So many blocked keys are shown of one queue.
const SHOWN_KEYS: u32 = 20;

pub(super) async fn list(pool: &PgPool, output: Output) -> anyhow::Result<ExitCode> {
    let mut conn = pool.acquire().await?;
    let queues = queues::list(&mut conn).await?;
    match output {
        Output::Table => {
            let now = now(&mut conn).await?;
            let header = [
                "QUEUE",
                "AVAILABLE",
                "RUNNING",
                "RETRYABLE",
                "SCHEDULED",
                "OLDEST",
                "BLOCKED",
                "PAUSED BY",
                "LIMITS",
            ];
            let rows: Vec<_> = queues.iter().map(|queue| row(queue, now)).collect();
            print!("{}", table(header, &rows));
            for (_all, pause) in queues::pauses(&mut conn).await?.iter().filter(is_of_all) {
                let (by, at) = (&pause.paused_by, moment(Some(pause.paused_at)));
                println!("every queue is paused since {at} by {by}: {}", pause.reason);
            }
        }
        Output::Json => {
            let queues: Result<Vec<Value>, _> = queues.iter().map(to_json).collect();
            println!("{}", Value::Array(queues?));
        }
        Output::Jsonl => {
            for queue in &queues {
                println!("{}", to_json(queue)?);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn is_of_all((queue, _): &&(Option<String>, Pause)) -> bool {
    queue.is_none()
}

pub(super) async fn show(pool: &PgPool, name: &str, output: Output) -> anyhow::Result<ExitCode> {
    let mut conn = pool.acquire().await?;
    let found = queues::list(&mut conn).await?.into_iter().find(|queue| queue.queue == name);
    let Some(queue) = found else {
        eprintln!(
            "error: queue {name} has no unfinished job, no pause and no limits; 'app queues list' \
             shows those that have"
        );
        return Ok(ExitCode::from(NOT_FOUND));
    };
    let keys = queues::blocked_keys(&mut conn, Some(name), SHOWN_KEYS).await?;
    match output {
        Output::Table => print!("{}", details(&queue, &keys, now(&mut conn).await?)),
        Output::Json | Output::Jsonl => {
            let mut value = to_json(&queue)?;
            value["blocked"] = serde_json::to_value(&keys)?;
            println!("{value}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The blocked keys of a queue.
pub(super) async fn blocked(
    pool: &PgPool,
    name: &str,
    limit: u32,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let mut conn = pool.acquire().await?;
    let keys = queues::blocked_keys(&mut conn, Some(name), limit).await?;
    match output {
        Output::Table => print!("{}", keys_table(&keys)),
        Output::Json => println!("{}", serde_json::to_value(&keys)?),
        Output::Jsonl => {
            for key in &keys {
                println!("{}", serde_json::to_value(key)?);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn now(conn: &mut PgConnection) -> Result<OffsetDateTime, sqlx::Error> {
    sqlx::query_scalar("select clock_timestamp()").fetch_one(conn).await
}

fn to_json(queue: &QueueSummary) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(queue)?;
    value["counts_capped_at"] = json!(COUNT_CAP);
    if let Some(limits) = &queue.limits {
        value["limits"] = limits::to_json(limits);
    }
    Ok(value)
}

/// A number that was counted up to the cap says so.
fn capped(count: i64) -> String {
    if count >= COUNT_CAP { format!("{COUNT_CAP}+") } else { count.to_string() }
}

fn age(queue: &QueueSummary, now: OffsetDateTime) -> String {
    queue.oldest_due.map_or("-".to_owned(), |due| span((now - due).as_seconds_f64()))
}

fn row(queue: &QueueSummary, now: OffsetDateTime) -> [String; 9] {
    [
        queue.queue.clone(),
        capped(queue.available),
        capped(queue.running),
        capped(queue.retryable),
        capped(queue.scheduled),
        age(queue, now),
        queue.blocked_keys.to_string(),
        queue.pause.as_ref().map_or("-".to_owned(), |pause| pause.paused_by.clone()),
        queue.limits.as_ref().map_or("-".to_owned(), limits::in_words),
    ]
}

fn details(queue: &QueueSummary, keys: &[BlockedKey], now: OffsetDateTime) -> String {
    let mut text = format!("queue {}\n", queue.queue);
    text += &match &queue.pause {
        Some(pause) => format!(
            "paused since {} by {}: {}\n",
            moment(Some(pause.paused_at)),
            pause.paused_by,
            pause.reason
        ),
        None => "not paused\n".to_owned(),
    };
    text += &format!(
        "jobs: {} available (the oldest for {}), {} running, {} retryable, {} scheduled\n",
        capped(queue.available),
        age(queue, now),
        capped(queue.running),
        capped(queue.retryable),
        capped(queue.scheduled),
    );
    let limits = queue.limits.as_ref().map_or("none".to_owned(), limits::in_words);
    text += &format!("limits: {limits}\n");
    if !keys.is_empty() {
        text += &format!("blocked keys: {}\n", queue.blocked_keys);
        text += &keys_table(keys);
    }
    text
}

fn keys_table(keys: &[BlockedKey]) -> String {
    let rows = keys.iter().map(|key| {
        let cause = match key.cause {
            BlockCause::Discarded => "discarded",
            BlockCause::Parked => "parked",
        };
        [
            key.key.replace(char::is_control, " "),
            key.job_id.to_string(),
            cause.to_owned(),
            moment(Some(key.since)),
            capped(key.waiting),
        ]
    });
    table(["KEY", "HEAD", "CAUSE", "SINCE", "WAITING"], &rows.collect::<Vec<_>>())
}
