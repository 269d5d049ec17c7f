//! The overview on the wire.

use poem_openapi::Object;
use serde::Serialize;
use time::OffsetDateTime;

use super::attention::AttentionOut;
use crate::http::api::queues::{PauseOut, QueueOut};
use crate::operations::overview::{
    BankFigures, FailingKind, JobFigures, OpenConflicts, OpenJobs, Overview, Pace, SourceFigures,
    WorkerFigures,
};
use crate::operations::verify::LastVerify;

/// The figures of the whole system at one moment, and what of them needs a person.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Overview")]
pub(super) struct OverviewOut {
    /// The moment, by the database's clock.
    #[serde(with = "time::serde::rfc3339")]
    as_of: OffsetDateTime,
    /// Whatever needs a person, the worst first.
    needs_attention: Vec<AttentionOut>,
    /// The pace at which money comes in and is settled.
    pace: PaceOut,
    /// The jobs that are not finished.
    jobs: JobFiguresOut,
    /// The kinds whose jobs failed and wait to be tried again, those with the most jobs first; at
    /// most 20.
    failing: Vec<FailingKindOut>,
    /// The discarded jobs that nobody has decided over.
    dead_letters: DeadLetterFiguresOut,
    /// The workers.
    workers: WorkerFiguresOut,
    /// The transactions that came again with other content.
    conflicts: ConflictFiguresOut,
    /// The sources of webhooks.
    sources: Vec<SourceOut>,
    /// The bank.
    bank: BankFiguresOut,
    /// The last verification that could check everything; null before the first.
    #[oai(nullable)]
    ledger: Option<LastVerificationOut>,
    /// The queues, by name; the first hundred.
    queues: Vec<QueueOut>,
    /// The pause of all queues; null if there is none.
    #[oai(nullable)]
    pause_of_all: Option<PauseOut>,
}

impl From<Overview> for OverviewOut {
    fn from(overview: Overview) -> Self {
        Self {
            as_of: overview.as_of,
            needs_attention: overview.needs_attention.into_iter().map(Into::into).collect(),
            pace: overview.pace.into(),
            jobs: overview.jobs.into(),
            failing: overview.failing.into_iter().map(Into::into).collect(),
            dead_letters: overview.dead_letters.into(),
            workers: overview.workers.into(),
            conflicts: overview.conflicts.into(),
            sources: overview.sources.into_iter().map(Into::into).collect(),
            bank: overview.bank.into(),
            ledger: overview.ledger.map(Into::into),
            queues: overview.queues.into_iter().map(Into::into).collect(),
            pause_of_all: overview.pause_of_all.map(Into::into),
        }
    }
}

/// The pace of the money: numbers in a minute, the last one or at the pace of the newest 5,000.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Pace")]
struct PaceOut {
    /// Transactions that were accepted.
    accepted_per_minute: f64,
    /// Transactions and orders that were completed.
    settled_per_minute: f64,
    /// Transactions and orders that failed.
    failed_per_minute: f64,
}

impl From<Pace> for PaceOut {
    fn from(pace: Pace) -> Self {
        Self {
            accepted_per_minute: pace.accepted_per_minute,
            settled_per_minute: pace.settled_per_minute,
            failed_per_minute: pace.failed_per_minute,
        }
    }
}

/// The jobs that are not finished; each count is the sum over the queues, where it stops at 10,000.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "JobFigures")]
struct JobFiguresOut {
    /// Jobs that run.
    running: i64,
    /// Jobs that are due.
    waiting: i64,
    /// Jobs that wait for another attempt.
    retryable: i64,
    /// Jobs that wait for their time, or for other jobs.
    scheduled: i64,
    /// True if a count has stopped at its bound, so that there are more.
    is_more: bool,
    /// The moment at which the job that waits longest became due, among queues that are not paused;
    /// null if none waits.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    oldest_due: Option<OffsetDateTime>,
    /// The queue of that job.
    #[oai(nullable)]
    oldest_due_queue: Option<String>,
}

impl From<JobFigures> for JobFiguresOut {
    fn from(jobs: JobFigures) -> Self {
        Self {
            running: jobs.running,
            waiting: jobs.waiting,
            retryable: jobs.retryable,
            scheduled: jobs.scheduled,
            is_more: jobs.is_more,
            oldest_due: jobs.oldest_due,
            oldest_due_queue: jobs.oldest_due_queue,
        }
    }
}

/// Jobs of one kind in one queue that failed, and wait to be tried again.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "FailingKind")]
struct FailingKindOut {
    /// The queue.
    queue: String,
    /// The kind.
    kind: String,
    /// The number of such jobs, among the first of each queue.
    jobs: i64,
    /// The newest of them.
    sample_job_id: i64,
    /// The error of its last attempt; null where there is none.
    #[oai(nullable)]
    error: Option<String>,
    /// The moment at which that attempt ended.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    failed_at: Option<OffsetDateTime>,
}

impl From<FailingKind> for FailingKindOut {
    fn from(failing: FailingKind) -> Self {
        Self {
            queue: failing.queue,
            kind: failing.kind,
            jobs: failing.jobs,
            sample_job_id: failing.sample_job.0,
            error: failing.error,
            failed_at: failing.failed_at,
        }
    }
}

/// The discarded jobs that nobody has decided over.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "DeadLetterFigures")]
struct DeadLetterFiguresOut {
    /// The number of them, among the oldest and the newest 1,000 discarded jobs.
    open: i64,
    /// True if there are discarded jobs in between, so that there may be more.
    is_more: bool,
    /// The moment at which the first of them was given up; null if there is none.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    oldest_at: Option<OffsetDateTime>,
    /// The moment at which the last of them was.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    newest_at: Option<OffsetDateTime>,
}

impl From<OpenJobs> for DeadLetterFiguresOut {
    fn from(open: OpenJobs) -> Self {
        Self {
            open: open.jobs,
            is_more: open.is_more,
            oldest_at: open.oldest_at,
            newest_at: open.newest_at,
        }
    }
}

/// The workers that were seen within the last day.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "WorkerFigures")]
struct WorkerFiguresOut {
    /// Those that claim and run jobs.
    working: u32,
    /// Those that finish what they have, and end.
    draining: u32,
    /// Those that were lost within the last hour.
    lost: u32,
    /// The most jobs that the working ones can have in progress.
    slots: i64,
    /// The jobs in progress when they were last seen.
    running: i64,
    /// The versions of those that are not lost.
    versions: Vec<String>,
}

impl From<WorkerFigures> for WorkerFiguresOut {
    fn from(workers: WorkerFigures) -> Self {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            working: number(workers.working),
            draining: number(workers.draining),
            lost: number(workers.lost),
            slots: workers.slots,
            running: workers.running,
            versions: workers.versions,
        }
    }
}

/// Bodies that named a known transaction and were not the same.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "ConflictFigures")]
struct ConflictFiguresOut {
    /// The number of such bodies; it stops at 1,000.
    bodies: i64,
    /// True if there are more.
    is_more: bool,
    /// The moment at which the newest of them first came; null if there is none.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    newest_at: Option<OffsetDateTime>,
}

impl From<OpenConflicts> for ConflictFiguresOut {
    fn from(conflicts: OpenConflicts) -> Self {
        Self {
            bodies: conflicts.bodies,
            is_more: conflicts.is_more,
            newest_at: conflicts.newest_at,
        }
    }
}

/// A source of webhooks.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "WebhookSource")]
struct SourceOut {
    /// The name of the source.
    source: String,
    /// The moment of the last transaction from it; null before the first.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    last_at: Option<OffsetDateTime>,
    /// The seconds since then, or since the source was first served.
    silent_secs: f64,
    /// The seconds that usually pass from one to the next; null before there were two, and of
    /// sources that are configured.
    #[oai(nullable)]
    usual_gap_secs: Option<f64>,
    /// True if it has been silent for much longer than is usual, or than it is configured to.
    is_silent: bool,
}

impl From<SourceFigures> for SourceOut {
    fn from(source: SourceFigures) -> Self {
        Self {
            source: source.source,
            last_at: source.last_at,
            silent_secs: source.silent_secs,
            usual_gap_secs: source.usual_gap_secs,
            is_silent: source.is_silent,
        }
    }
}

/// The bank, as its circuit breaker sees it.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "BankFigures")]
struct BankFiguresOut {
    /// The circuit breaker: `closed`, `open` or `half_open`. While it is not closed, deposits and
    /// withdrawals are taken and wait.
    breaker: String,
    /// The failures in a row so far; while it is not closed, those that opened it.
    failures: i32,
    /// The moment since which it is not closed; null while it is.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    opened_at: Option<OffsetDateTime>,
}

impl From<BankFigures> for BankFiguresOut {
    fn from(bank: BankFigures) -> Self {
        Self {
            breaker: bank.breaker.to_owned(),
            failures: bank.failures,
            opened_at: bank.opened_at,
        }
    }
}

/// The last verification that could check everything.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "LastVerification")]
struct LastVerificationOut {
    /// The moment as of which all was checked.
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    /// True if every guarantee held.
    ok: bool,
    /// The rows that broke a guarantee.
    violations: i64,
    /// The seconds that it took.
    took_secs: f64,
}

impl From<LastVerify> for LastVerificationOut {
    fn from(last: LastVerify) -> Self {
        Self {
            at: last.at,
            ok: last.ok,
            violations: last.violations,
            took_secs: last.took.as_secs_f64(),
        }
    }
}
