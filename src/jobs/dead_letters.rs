//! Dead letters: discarded jobs, as operators decide over them, with the money that they are about.
//!
//! The one place that knows what a decision means for the money. Called by `operations` and by
//! [`ResolveBankOrder`], in their database transactions.
//!
//! A decision and what it does to the money commit together. Whoever moves an order because of a
//! dead letter, the operator here or [`ResolveBankOrder`], locks the order
//! first and looks then whether the letter is still open. So of an operator who redrives an order
//! and a job that is about to fail it, the second one sees what the first has done.

use sqlx::PgConnection;

use super::announcements::announce_here;
use super::{ExecuteBankOrder, ExecuteTransfer, ResolveBankOrder, SettleTransaction};
use crate::ids::{OrderId, TransactionId};
use crate::payments::orders::{self, Order};
use crate::payments::outcomes::Outcomes;
use crate::payments::transactions::{self, Status, Transaction, TransactionError};
use crate::payments::{LedgerError, settlement};
use crate::queue::operate::discarded::{self, Decision, Resolved};
use crate::queue::operate::inspect::{self, JobDetails};
use crate::queue::{Job, JobId, JobState, QueueError};

/// The failure reason of an order or transaction that an operator has written off.
pub const WRITTEN_OFF: &str = "written-off";

/// A job that was discarded at least once, and what it is about.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The job, with its attempts and what was decided over it.
    pub job: JobDetails,
    /// The order or transaction of the job; none when it does not exist, or the kind of the job is
    /// none of ours.
    pub subject: Option<Subject>,
}

/// The order or transaction that a job is about.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A user's order.
    Order(Order),
    /// A provider's transaction.
    Transaction(Transaction),
}

/// The reason that a decision is refused. Nothing that was done for it may be committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecisionRefusal {
    /// No job with this number was ever discarded, or retention has dropped it.
    #[error("there is no such dead letter")]
    NotFound,
    /// Somebody has decided over it by now.
    #[error("somebody has decided over it already")]
    AlreadyDecided,
    /// The order or transaction has its outcome, so that running the job again would do nothing.
    #[error("what it is about needs no other run; it can be written off")]
    NothingToRedrive,
}

impl DecisionRefusal {
    /// The stable name of the refusal.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::AlreadyDecided => "already-decided",
            Self::NothingToRedrive => "nothing-to-redrive",
        }
    }
}

/// An error beside a [`DecisionRefusal`].
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// The queue's error.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// With an order.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// With a transaction.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
}

/// The dead letter with this number, open or decided over.
///
/// # Errors
///
/// [`DeadLetterError`].
pub async fn find(
    conn: &mut PgConnection,
    id: JobId,
) -> Result<Option<DeadLetter>, DeadLetterError> {
    let Some(job) = find_discarded(conn, id).await? else { return Ok(None) };
    let subject = subject_of(conn, &job).await?;
    Ok(Some(DeadLetter { job, subject }))
}

/// The order or transaction that a job is about; none when it does not exist, or the kind of the
/// job is none of ours.
///
/// # Errors
///
/// [`DeadLetterError`].
pub async fn subject_of(
    conn: &mut PgConnection,
    job: &JobDetails,
) -> Result<Option<Subject>, DeadLetterError> {
    Ok(match JobSubject::of(job) {
        Some(JobSubject::Order(order)) => orders::find(conn, order).await?.map(Subject::Order),
        Some(JobSubject::Transaction(number)) => {
            transactions::find_by_number(conn, number).await?.map(Subject::Transaction)
        }
        None => None,
    })
}

/// Runs a discarded job again, with the effect key that it had: one whose order or transaction has
/// no outcome yet, as an outcome is final.
///
/// # Errors
///
/// [`DeadLetterError`]. After a [`DecisionRefusal`], too, nothing may be committed.
pub async fn redrive(
    conn: &mut PgConnection,
    id: JobId,
    decision: Decision<'_>,
) -> Result<Result<(), DecisionRefusal>, DeadLetterError> {
    let Some(job) = find_discarded(conn, id).await? else {
        return Ok(Err(DecisionRefusal::NotFound));
    };
    let has_outcome = match JobSubject::of(&job) {
        Some(JobSubject::Order(order)) => {
            let order = orders::find_locked(conn, order).await?;
            order.is_none_or(|order| order.is_finished())
        }
        Some(JobSubject::Transaction(number)) => {
            let found = transactions::find_by_number(conn, number).await?;
            found.is_none_or(|transaction| transaction.status != Status::Processing)
        }
        None => false,
    };
    if has_outcome {
        return Ok(Err(undecided(conn, id).await?));
    }
    Ok(match discarded::redrive(conn, id, decision).await? {
        Resolved::Done => Ok(()),
        Resolved::NotOpen => Err(DecisionRefusal::AlreadyDecided),
    })
}

/// Gives up what a discarded job was to do. What is unfinished becomes `FAILED` for the reason
/// [`WRITTEN_OFF`], and what it held is released; what has its outcome keeps it.
///
/// That the bank has not moved the money of an unfinished order, or that it has and what then is to
/// be done, is for whoever writes it off to know.
///
/// # Errors
///
/// As [`redrive`].
pub async fn write_off(
    conn: &mut PgConnection,
    id: JobId,
    decision: Decision<'_>,
) -> Result<Result<(), DecisionRefusal>, DeadLetterError> {
    let Some(job) = find_discarded(conn, id).await? else {
        return Ok(Err(DecisionRefusal::NotFound));
    };
    let about = JobSubject::of(&job);
    if let Some(JobSubject::Order(order)) = about {
        orders::find_locked(conn, order).await?;
    }
    if discarded::dismiss(conn, id, decision).await? == Resolved::NotOpen {
        return Ok(Err(DecisionRefusal::AlreadyDecided));
    }
    let is_left_to_another = is_left_to_original(conn, &job, decision).await?;
    let outcomes = match about {
        Some(JobSubject::Order(order)) if !is_left_to_another => {
            orders::fail(&mut *conn, order, WRITTEN_OFF).await?
        }
        Some(JobSubject::Transaction(number)) => {
            settlement::write_off(&mut *conn, number, WRITTEN_OFF).await?
        }
        Some(JobSubject::Order(_)) | None => Outcomes::default(),
    };
    announce_here(conn, &outcomes, decision.by).await?;
    Ok(Ok(()))
}

/// Tells if nobody has decided over this job since it was discarded. With the lock on its order in
/// hand, this stays so until the transaction ends.
pub(super) async fn is_open(conn: &mut PgConnection, id: JobId) -> Result<bool, QueueError> {
    // Nobody can redrive what retention has dropped.
    Ok(inspect::find_job(conn, id).await?.is_none_or(|job| is_undecided(&job)))
}

/// Tells if a job is discarded and waits for a decision.
pub fn is_undecided(job: &JobDetails) -> bool {
    let is_decided = job.resolutions.iter().any(|decided| decided.attempt == job.attempt);
    job.state == JobState::Discarded && !is_decided
}

/// Tells if jobs of this kind are about an order or a transaction, which waits for them: cancelled,
/// or with other arguments, they would leave it waiting for ever.
pub fn is_about_money(kind: &str) -> bool {
    [ExecuteBankOrder::KIND, ResolveBankOrder::KIND, ExecuteTransfer::KIND, SettleTransaction::KIND]
        .contains(&kind)
}

/// The id in the arguments of a job.
#[derive(Clone, Copy)]
enum JobSubject {
    Order(OrderId),
    Transaction(TransactionId),
}

impl JobSubject {
    fn of(job: &JobDetails) -> Option<Self> {
        let args = &job.stored_args;
        match job.kind.as_str() {
            ExecuteBankOrder::KIND => {
                args.parse::<ExecuteBankOrder>().map(|args| Self::Order(args.order))
            }
            ResolveBankOrder::KIND => {
                args.parse::<ResolveBankOrder>().map(|args| Self::Order(args.args.order))
            }
            ExecuteTransfer::KIND => {
                args.parse::<ExecuteTransfer>().map(|args| Self::Order(args.order))
            }
            SettleTransaction::KIND => {
                args.parse::<SettleTransaction>().map(|args| Self::Transaction(args.transaction))
            }
            _ => None,
        }
    }
}

async fn find_discarded(
    conn: &mut PgConnection,
    id: JobId,
) -> Result<Option<JobDetails>, QueueError> {
    let found = inspect::find_job(conn, id).await?;
    let was_discarded =
        |job: &JobDetails| job.state == JobState::Discarded || !job.resolutions.is_empty();
    Ok(found.filter(was_discarded))
}

/// The refusal to run a job again whose subject needs it no more: a second decision is told that
/// there was a first.
async fn undecided(conn: &mut PgConnection, id: JobId) -> Result<DecisionRefusal, QueueError> {
    Ok(match is_open(conn, id).await? {
        true => DecisionRefusal::NothingToRedrive,
        false => DecisionRefusal::AlreadyDecided,
    })
}

/// With a [`ResolveBankOrder`] the job that it followed is written off, too, as both are about one
/// order. But once that has been redriven, the bank may be acting at this moment, and the order is
/// that job's: says whether it is.
async fn is_left_to_original(
    conn: &mut PgConnection,
    job: &JobDetails,
    decision: Decision<'_>,
) -> Result<bool, QueueError> {
    if job.kind != ResolveBankOrder::KIND {
        return Ok(false);
    }
    let Some(follow_up) = job.stored_args.parse::<ResolveBankOrder>() else { return Ok(false) };
    let original = inspect::find_job(conn, follow_up.job).await?;
    if original.is_some_and(|original| original.finished_at.is_none()) {
        return Ok(true);
    }
    // That it was decided over before is as good.
    let (Resolved::Done | Resolved::NotOpen) =
        discarded::dismiss(conn, follow_up.job, decision).await?;
    Ok(false)
}
