//! The jobs about a transaction or an order.
//!
//! Arguments have no index, so these jobs are found by time: they were enqueued with the thing that
//! they are about. What there is to look at is what was enqueued at that moment, whatever the
//! history weighs; and as nearly all are there within milliseconds, those are looked at first.

use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};

use crate::jobs::{ExecuteBankOrder, ExecuteTransfer, ResolveBankOrder, SettleTransaction};
use crate::payments::orders::Order;
use crate::payments::transactions::Transaction;
use crate::queue::operate::list::{self, JobSummary};
use crate::queue::operate::{ArgsMatch, JobFilter, inspect};
use crate::queue::{Job as _, JobId, QueueError};

/// The times within which a job is enqueued after the thing that it is about, and its id drawn
/// before that: what holds for nearly all, what holds for those that came by the thousand, what
/// holds for those of a busy moment, and what holds for all, as one database transaction writes
/// both.
const ENQUEUED: [(Duration, Duration); 4] = [
    (Duration::milliseconds(20), Duration::milliseconds(5)),
    (Duration::milliseconds(100), Duration::milliseconds(50)),
    (Duration::milliseconds(300), Duration::SECOND),
    (Duration::seconds(30), Duration::SECOND),
];

/// The most pages of jobs that are looked at, of 20,000 or so each: about a second.
const MAX_PAGES: u32 = 10;

/// The jobs that settle a transaction.
///
/// # Errors
///
/// [`QueueError::Database`].
pub(in crate::operations) async fn of_transaction(
    conn: &mut PgConnection,
    transaction: &Transaction,
) -> Result<Vec<JobSummary>, QueueError> {
    let argument = ArgsMatch::new("transaction", transaction.id.to_string());
    enqueued_at(conn, &[SettleTransaction::KIND], argument, transaction.created_at).await
}

/// The jobs that execute an order.
///
/// # Errors
///
/// [`QueueError::Database`].
pub(in crate::operations) async fn of_order(
    conn: &mut PgConnection,
    order: &Order,
) -> Result<Vec<JobSummary>, QueueError> {
    let kinds = [ExecuteBankOrder::KIND, ExecuteTransfer::KIND];
    let argument = ArgsMatch::new("order", order.id.to_string());
    enqueued_at(conn, &kinds, argument, order.created_at).await
}

/// The jobs that followed up the discard of another, if it was discarded.
///
/// # Errors
///
/// [`QueueError::Database`].
pub(in crate::operations) async fn after_discard_of(
    conn: &mut PgConnection,
    job: JobId,
) -> Result<Vec<JobSummary>, QueueError> {
    let Some(details) = inspect::find_job(&mut *conn, job).await? else { return Ok(Vec::new()) };
    let Some(ended) = details.attempts.last().map(|attempt| attempt.ended_at) else {
        return Ok(Vec::new());
    };
    let argument = ArgsMatch::new("job", job.to_string());
    enqueued_at(conn, &[ResolveBankOrder::KIND], argument, ended).await
}

/// The jobs of these kinds with this argument that were enqueued about then.
async fn enqueued_at(
    conn: &mut PgConnection,
    kinds: &[&str],
    argument: ArgsMatch,
    at: OffsetDateTime,
) -> Result<Vec<JobSummary>, QueueError> {
    let mut filter = JobFilter {
        kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        args: vec![argument],
        ..JobFilter::default()
    };
    for (within, id_drawn_within) in ENQUEUED {
        filter.since = at.checked_sub(within);
        filter.until = at.checked_add(within);
        filter.ids_drawn_within = Some(id_drawn_within);
        let mut before = None;
        for _ in 0..MAX_PAGES {
            let page = list::list(&mut *conn, &filter, before, list::MAX_LISTED).await?;
            if !page.jobs.is_empty() {
                return Ok(page.jobs);
            }
            before = page.next;
            if before.is_none() {
                break;
            }
        }
    }
    Ok(Vec::new())
}
