//! Decisions over dead letters, each with what it means for the money.

use sqlx::PgConnection;

use super::subject::without_outcome;
use super::{
    DeadLetterError, DecisionRefusal, JobSubject, ResolveBankOrder, WRITTEN_OFF, find_discarded,
};
use crate::ids::OrderId;
use crate::jobs::announcements::announce_here;
use crate::payments::orders;
use crate::payments::outcomes::Outcomes;
use crate::payments::settlement;
use crate::queue::operate::discarded::{self, Decision, OpenJob, Resolved};
use crate::queue::operate::inspect::{self, JobDetails};
use crate::queue::{Job, JobId, QueueError};

/// Runs a discarded job again, with the effect key that it had: one whose order or transaction has
/// no outcome yet, as an outcome is final.
///
/// # Errors
///
/// [`DeadLetterError`]. Nothing may be committed then.
pub async fn redrive(
    conn: &mut PgConnection,
    id: JobId,
    decision: Decision<'_>,
) -> Result<Result<(), DecisionRefusal>, DeadLetterError> {
    let redriven = redrive_many(conn, &[id], decision).await?;
    Ok(redriven.into_iter().next().map_or(Err(DecisionRefusal::NotFound), |(_, result)| result))
}

/// The same for several jobs, by a number of statements that does not depend on how many there
/// are. Their orders stay locked until the transaction ends. The answers are in the order of `ids`.
///
/// # Errors
///
/// As [`redrive`].
pub async fn redrive_many(
    conn: &mut PgConnection,
    ids: &[JobId],
    decision: Decision<'_>,
) -> Result<Vec<(JobId, Result<(), DecisionRefusal>)>, DeadLetterError> {
    let open = discarded::open_among(&mut *conn, ids).await?;
    let about = |job: &OpenJob| JobSubject::of(&job.kind, &job.stored_args);
    let subjects: Vec<JobSubject> = open.iter().filter_map(about).collect();
    lock_orders(&mut *conn, &subjects).await?;
    let unfinished = without_outcome(&mut *conn, &subjects).await?;
    let wanted = |job: &&OpenJob| about(job).is_none_or(|subject| unfinished.contains(&subject));
    let wanted: Vec<JobId> = open.iter().filter(wanted).map(|job| job.id).collect();
    let redriven = discarded::redrive_many(&mut *conn, &wanted, decision).await?;
    let rest: Vec<JobId> = ids.iter().copied().filter(|id| !redriven.contains(id)).collect();
    let refusals = refusals(conn, &rest).await?;
    let result = |id: &JobId| match refusals.iter().find(|(of, _)| of == id) {
        Some((_, refusal)) => (*id, Err(*refusal)),
        None => (*id, Ok(())),
    };
    Ok(ids.iter().map(result).collect())
}

/// Locks the orders in the order of their ids, as everybody does who locks several.
async fn lock_orders(
    conn: &mut PgConnection,
    subjects: &[JobSubject],
) -> Result<(), DeadLetterError> {
    let order = |subject: &JobSubject| match subject {
        JobSubject::Order(id) => Some(*id),
        JobSubject::Transaction(_) => None,
    };
    let ids: Vec<OrderId> = subjects.iter().filter_map(order).collect();
    if !ids.is_empty() {
        orders::find_many_locked(conn, &ids).await?;
    }
    Ok(())
}

/// The reasons that these jobs do not run again: of what is still open, that its subject needs it
/// no more; a second decision is told that there was a first.
async fn refusals(
    conn: &mut PgConnection,
    ids: &[JobId],
) -> Result<Vec<(JobId, DecisionRefusal)>, QueueError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let open = discarded::open_among(&mut *conn, ids).await?;
    let decided = discarded::decided_among(conn, ids).await?;
    let refusal = |id: &JobId| {
        let refusal = match (open.iter().any(|job| job.id == *id), decided.contains(id)) {
            (true, _) => DecisionRefusal::NothingToRedrive,
            (false, true) => DecisionRefusal::AlreadyDecided,
            (false, false) => DecisionRefusal::NotFound,
        };
        (*id, refusal)
    };
    Ok(ids.iter().map(refusal).collect())
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
    let about = JobSubject::of(&job.kind, &job.stored_args);
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
