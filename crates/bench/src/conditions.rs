//! Disturbances of the queue while it is measured, so that figures are not of fair weather only.

use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use sqlx::Connection;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::chaos::{Chaos, ChaosArgs};
use super::history::History;
use super::scratch::{self, Database, Server};

/// Disturbances of the queue while it is measured. Each round then measures both with and without,
/// in turns, and gives the ratio; --chaos alone is not compared.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Conditions")]
pub(crate) struct ConditionArgs {
    /// Keep an idle REPEATABLE READ transaction with a snapshot open, so that vacuum can remove no
    /// dead row: for so long, or without a value as long as the measurement lasts.
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "365d",
          value_parser = humantime::parse_duration)]
    hold_xmin: Option<Duration>,
    /// Connections that read the queue's tables meanwhile, as reports do: all jobs by state, all
    /// attempts by outcome, again and again, in REPEATABLE READ.
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(0..=64))]
    readers: u32,
    /// Finished jobs that are there from the start, with an attempt each.
    #[arg(long, value_name = "N", default_value_t = 0)]
    full_history: u64,
    /// Jobs that are there from the start and due tomorrow.
    #[arg(long, value_name = "N", default_value_t = 0)]
    scheduled: u64,
    #[command(flatten)]
    chaos: ChaosArgs,
}

/// One of the two sorts of measurement that are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Condition {
    /// Nothing: what the other is compared with.
    Undisturbed,
    /// All that was asked for.
    Disturbed,
}

impl ConditionArgs {
    fn history(&self) -> History {
        History { finished: self.full_history, scheduled: self.scheduled }
    }

    fn is_compared(&self) -> bool {
        self.hold_xmin.is_some() || self.readers > 0 || self.history() != History::default()
    }

    /// The conditions to measure in this round, in turn: no one always follows the same one.
    pub(crate) fn of_round(&self, round: u32) -> Vec<Condition> {
        match (self.is_compared(), self.chaos.kind) {
            (true, _) if round.is_multiple_of(2) => {
                vec![Condition::Undisturbed, Condition::Disturbed]
            }
            (true, _) => vec![Condition::Disturbed, Condition::Undisturbed],
            (false, Some(_)) => vec![Condition::Disturbed],
            (false, None) => vec![Condition::Undisturbed],
        }
    }

    /// Tells whether anything is broken on purpose.
    pub(crate) fn is_chaotic(&self) -> bool {
        self.chaos.kind.is_some()
    }

    /// The chaos of this condition, if any.
    pub(crate) fn chaos(&self, condition: Condition) -> Option<Chaos> {
        match condition {
            Condition::Undisturbed => None,
            Condition::Disturbed => self.chaos.chaos(),
        }
    }

    /// The database to measure in.
    pub(crate) async fn database<'a>(
        &self,
        server: &'a Server,
        condition: Condition,
    ) -> anyhow::Result<Database<'a>> {
        match condition {
            Condition::Disturbed if self.history() != History::default() => {
                server.database_with(self.history()).await
            }
            Condition::Undisturbed | Condition::Disturbed => server.fresh_database().await,
        }
    }

    /// Describes the disturbances of this condition in words.
    pub(crate) fn describe(&self, condition: Condition) -> String {
        if condition == Condition::Undisturbed {
            return "undisturbed".to_owned();
        }
        let mut words = Vec::new();
        if let Some(length) = self.hold_xmin {
            words.push(match self.holds_to_the_end(length) {
                true => "xmin held".to_owned(),
                false => format!("xmin held for {}", humantime::format_duration(length)),
            });
        }
        if self.readers > 0 {
            words.push(format!("{} readers", self.readers));
        }
        if self.history() != History::default() {
            words.push(self.history().to_string());
        }
        if let Some(chaos) = self.chaos.chaos() {
            words.push(chaos.to_string());
        }
        words.join(", ")
    }

    fn holds_to_the_end(&self, length: Duration) -> bool {
        length >= Duration::from_secs(365 * 24 * 3600)
    }

    /// Begins what lasts as long as the measurement; the chaos is begun by itself.
    pub(crate) async fn begin(
        &self,
        condition: Condition,
        database: &Database<'_>,
    ) -> anyhow::Result<Disturbances> {
        let stop = CancellationToken::new();
        let (mut holder, mut readers) = (None, Vec::new());
        if condition == Condition::Disturbed {
            if let Some(length) = self.hold_xmin {
                holder = Some(hold_xmin(&database.url, length, stop.clone()).await?);
            }
            for _ in 0..self.readers {
                readers.push(tokio::spawn(read(database.url.clone(), stop.clone())));
            }
        }
        let may_break = self.chaos(condition).is_some();
        Ok(Disturbances { stop, holder, readers, may_break })
    }
}

/// The tasks that run beside a measurement.
pub(crate) struct Disturbances {
    stop: CancellationToken,
    holder: Option<JoinHandle<anyhow::Result<()>>>,
    readers: Vec<JoinHandle<anyhow::Result<u64>>>,
    /// True when connections may be cut on purpose.
    may_break: bool,
}

impl Disturbances {
    /// Ends them. Gives how many reading transactions there were.
    pub(crate) async fn end(self) -> anyhow::Result<u64> {
        self.stop.cancel();
        if let Some(holder) = self.holder {
            let held = holder.await?;
            if !self.may_break {
                held.context("the transaction that was to be held open was cut")?;
            }
        }
        let mut reads = 0;
        for reader in self.readers {
            match reader.await? {
                Ok(count) => reads += count,
                Err(_cut) if self.may_break => {}
                Err(error) => return Err(error.context("a reader failed")),
            }
        }
        Ok(reads)
    }
}

/// Opens a transaction with a snapshot, and keeps it so long. It is open when this returns.
pub(crate) async fn hold_xmin(
    url: &str,
    length: Duration,
    stop: CancellationToken,
) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
    // Not by the application's settings, which end a transaction that idles.
    let mut conn = scratch::connect(url).await?;
    sqlx::query("begin isolation level repeatable read").execute(&mut conn).await?;
    sqlx::query("select from queue.jobs limit 1").execute(&mut conn).await?;
    Ok(tokio::spawn(async move {
        let _over_or_stopped = stop.run_until_cancelled(tokio::time::sleep(length)).await;
        sqlx::query("commit").execute(&mut conn).await?;
        Ok(conn.close().await?)
    }))
}

/// Reads until told to stop. Gives how many transactions it made.
async fn read(url: String, stop: CancellationToken) -> anyhow::Result<u64> {
    let mut conn = scratch::connect(&url).await?;
    let mut transactions = 0;
    while !stop.is_cancelled() {
        sqlx::query("begin isolation level repeatable read").execute(&mut conn).await?;
        for statement in [
            "select queue, kind, state, count(*), max(now() - enqueued_at)
             from queue.all_jobs
             group by queue, kind, state",
            "select outcome, count(*),
                    percentile_cont(0.95) within group (
                      order by extract(epoch from ended_at - started_at)
                    )
             from queue.attempts
             group by outcome",
        ] {
            sqlx::query(statement).execute(&mut conn).await?;
        }
        sqlx::query("commit").execute(&mut conn).await?;
        transactions += 1;
    }
    conn.close().await?;
    Ok(transactions)
}
