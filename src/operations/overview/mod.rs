//! Overview: the figures that tell a person in ten seconds how things stand, and what needs one.
//!
//! - Here: the overview, read in one go.
//! - `figures`: what is counted, and how it is read.
//! - `attention`: which of it needs a person, in words.
//!
//! Every figure comes from a bounded number of index entries, whatever the history weighs: counts
//! stop at a bound and say so, and a pace is that of the newest rows. So it can be asked for every
//! second.

mod attention;
mod figures;

pub use self::attention::{Attention, AttentionSubject, Severity, SubjectKind};
pub use self::figures::{BankFigures, JobFigures, Pace, SourceFigures, WorkerFigures};
pub use crate::payments::conflicts::OpenConflicts;
pub use crate::queue::operate::discarded::OpenJobs;
pub use crate::queue::operate::failing::FailingKind;

use serde::Serialize;
use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;

use super::database_now;
use super::queues::QueueView;
use super::verify::{self, LastVerify};
use crate::bank::breaker;
use crate::jobs::BANK_BREAKER;
use crate::payments::{conflicts, transactions};
use crate::queue::operate::queues::{self, Pause};
use crate::queue::operate::{discarded, failing};
use crate::queue::{QueueError, schedules};

/// The kinds that are named as failing.
const MAX_FAILING: u32 = 20;

/// The queues that are listed.
const MAX_QUEUES: usize = 100;

/// The figures of the whole system at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    /// The moment, by the database's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub as_of: OffsetDateTime,
    /// The pace at which money comes in and is settled.
    pub pace: Pace,
    /// The jobs that are not finished.
    pub jobs: JobFigures,
    /// The kinds whose jobs failed and wait to be tried again, those with the most jobs first.
    pub failing: Vec<FailingKind>,
    /// The discarded jobs that nobody has decided over.
    pub dead_letters: OpenJobs,
    /// The workers.
    pub workers: WorkerFigures,
    /// The transactions that came again with other content.
    pub conflicts: OpenConflicts,
    /// The sources of webhooks, and since when each is silent.
    pub sources: Vec<SourceFigures>,
    /// The bank.
    pub bank: BankFigures,
    /// The last verification of the ledger and of all else that must hold; null before the first.
    pub ledger: Option<LastVerify>,
    /// The queues, by name; the first hundred.
    pub queues: Vec<QueueView>,
    /// The pause of all queues; null if there is none.
    pub pause_of_all: Option<Pause>,
    /// Whatever needs a person, the worst first.
    pub needs_attention: Vec<Attention>,
}

/// Reads the overview, all as of one moment.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn read(conn: &mut PgConnection) -> Result<Overview, QueueError> {
    let mut tx = conn.begin_with("begin isolation level repeatable read, read only").await?;
    let overview = read_in(&mut tx).await?;
    tx.rollback().await?;
    Ok(overview)
}

async fn read_in(conn: &mut PgConnection) -> Result<Overview, QueueError> {
    let as_of = database_now(conn).await?;
    let intake = transactions::intake(conn).await?;
    let queues: Vec<QueueView> =
        queues::list(conn).await?.into_iter().map(QueueView::from).collect();
    let pauses = queues::pauses(conn).await?;
    let mut sources = figures::sources(&intake);
    sources.extend(figures::configured_sources(conn).await?);
    let late_schedules = figures::late(schedules::list(conn).await?);
    let mut overview = Overview {
        as_of,
        pace: figures::pace(conn, &intake).await?,
        jobs: JobFigures::of(&queues),
        failing: failing::kinds(conn, MAX_FAILING).await?,
        dead_letters: discarded::count_open(conn).await?,
        workers: figures::workers(conn, as_of).await?,
        conflicts: conflicts::count_open(conn).await?,
        sources,
        bank: BankFigures::of(&breaker::states(conn).await?, BANK_BREAKER),
        ledger: verify::last(conn).await?,
        queues: queues.into_iter().take(MAX_QUEUES).collect(),
        pause_of_all: pauses.into_iter().find(|(queue, _)| queue.is_none()).map(|(_, it)| it),
        needs_attention: Vec::new(),
    };
    overview.needs_attention = attention::of(&overview, &late_schedules);
    Ok(overview)
}
