//! Dead letters: discarded jobs, as operators decide over them, with the money that they are about.
//!
//! - Here: reading one, and which jobs are about money.
//! - [`subject`]: the order or transaction that a job is about.
//! - `deciding`: [`redrive`], [`redrive_many`] and [`write_off`].
//!
//! The one place that knows what a decision means for the money. Called by `operations` and by
//! [`ResolveBankOrder`], in their database transactions.
//!
//! A decision and what it does to the money commit together. Whoever moves an order because of a
//! dead letter, the operator here or [`ResolveBankOrder`], locks the order
//! first and looks then whether the letter is still open. So of an operator who redrives an order
//! and a job that is about to fail it, the second one sees what the first has done.

mod deciding;
pub mod subject;

use sqlx::PgConnection;

pub use self::deciding::{redrive, redrive_many, write_off};
pub use self::subject::{JobSubject, Subject};

use super::{ExecuteBankOrder, ExecuteTransfer, ResolveBankOrder, SettleTransaction};
use crate::payments::LedgerError;
use crate::payments::transactions::TransactionError;
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
    let subject = match JobSubject::of(&job.kind, &job.stored_args) {
        Some(subject) => subject.find(conn).await?,
        None => None,
    };
    Ok(Some(DeadLetter { job, subject }))
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

async fn find_discarded(
    conn: &mut PgConnection,
    id: JobId,
) -> Result<Option<JobDetails>, QueueError> {
    let found = inspect::find_job(conn, id).await?;
    let was_discarded =
        |job: &JobDetails| job.state == JobState::Discarded || !job.resolutions.is_empty();
    Ok(found.filter(was_discarded))
}
