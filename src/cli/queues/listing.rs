//! `app queues list`, `show` and `blocked`: tables and JSON.

use std::process::ExitCode;

use serde_json::json;
use sqlx::PgPool;
use time::OffsetDateTime;

use crate::cli::output::{Output, moment, span, table};
use crate::cli::report::NOT_FOUND;
use crate::operations::queues::{
    self, BlockCause, BlockedKey, COUNT_CAP, LimitsView, QueueView, ShownQueue,
};

pub(super) async fn list(pool: &PgPool, output: Output) -> anyhow::Result<ExitCode> {
    let listed = queues::list(&mut *pool.acquire().await?).await?;
    match output {
        Output::Table => {
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
            let rows: Vec<_> = listed.queues.iter().map(|queue| row(queue, listed.as_of)).collect();
            print!("{}", table(header, &rows));
            if let Some(pause) = &listed.pause_of_all {
                let (by, at) = (&pause.paused_by, moment(Some(pause.paused_at)));
                println!("every queue is paused since {at} by {by}: {}", pause.reason);
            }
        }
        Output::Json => println!("{}", serde_json::to_string(&listed.queues)?),
        Output::Jsonl => {
            for queue in &listed.queues {
                println!("{}", json!(queue));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn show(pool: &PgPool, name: &str, output: Output) -> anyhow::Result<ExitCode> {
    let Some(shown) = queues::find(&mut *pool.acquire().await?, name).await? else {
        eprintln!(
            "error: queue {name} has no unfinished job, no pause and no limits; 'app queues list' \
             shows those that have"
        );
        return Ok(ExitCode::from(NOT_FOUND));
    };
    match output {
        Output::Table => print!("{}", details(&shown)),
        Output::Json | Output::Jsonl => println!("{}", serde_json::to_string(&shown)?),
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
    let keys = queues::blocked_keys(&mut *pool.acquire().await?, name, limit).await?;
    match output {
        Output::Table => print!("{}", keys_table(&keys)),
        Output::Json => println!("{}", serde_json::to_string(&keys)?),
        Output::Jsonl => {
            for key in &keys {
                println!("{}", serde_json::to_string(key)?);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A count, marked where it stopped at the cap.
fn capped(count: i64) -> String {
    if count >= COUNT_CAP { format!("{COUNT_CAP}+") } else { count.to_string() }
}

fn age(queue: &QueueView, now: OffsetDateTime) -> String {
    queue.oldest_due.map_or("-".to_owned(), |due| span((now - due).as_seconds_f64()))
}

fn row(queue: &QueueView, now: OffsetDateTime) -> [String; 9] {
    [
        queue.queue.clone(),
        capped(queue.available),
        capped(queue.running),
        capped(queue.retryable),
        capped(queue.scheduled),
        age(queue, now),
        queue.blocked_keys.to_string(),
        queue.pause.as_ref().map_or("-".to_owned(), |pause| pause.paused_by.clone()),
        queue.limits.as_ref().map_or("-".to_owned(), LimitsView::to_string),
    ]
}

fn details(ShownQueue { queue, blocked, as_of }: &ShownQueue) -> String {
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
        age(queue, *as_of),
        capped(queue.running),
        capped(queue.retryable),
        capped(queue.scheduled),
    );
    let limits = queue.limits.as_ref().map_or("none".to_owned(), LimitsView::to_string);
    text += &format!("limits: {limits}\n");
    if !blocked.is_empty() {
        text += &format!("blocked keys: {}\n", queue.blocked_keys);
        text += &keys_table(blocked);
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
