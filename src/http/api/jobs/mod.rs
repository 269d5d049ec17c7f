//! Jobs: finding them, asking why one has not run, and changing them one by one.
//!
//! - Here: the operations.
//! - `query`: the filter language, as parameters of the list.
//! - `bodies`: jobs in lists and what is asked for. `details`: one job with all that is known.
//! - `refusals`: the codes of each operation. `problems`: errors as problems.
//!
//! Whatever could make a discarded job run again, enqueues a new one or shows what is hidden is for
//! admins, as decisions over dead letters are; operators do the rest.

mod bodies;
mod details;
mod problems;
mod query;
mod refusals;

use poem_openapi::param::Path;
use poem_openapi::{ApiResponse, OpenApi};
use sqlx::PgPool;

use self::bodies::{
    BecauseIn, ChangedJobOut, EnqueuedJobOut, JobEditIn, JobPageOut, NewJobIn, RevealedArgsOut,
};
use self::details::JobDetailsOut;
use self::problems::about_a_filter;
use self::query::JobQuery;
use self::refusals::{ChangeJob, EditJob, EnqueueJob, GetJob, ListJobs};
use super::ApiTags;
use crate::http::edge::caller::{Caller, Right};
use crate::http::edge::database::within_seconds;
use crate::http::edge::reads::{Reads, read_recent};
use crate::http::wire::id::Id;
use crate::http::wire::if_match::{IfMatch, etag};
use crate::http::wire::json_body::JsonBody;
use crate::http::wire::lists::read_cursor;
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, Problem};
use crate::http::wire::refused::Refused;
use crate::operations::jobs::edit::{self, JobVersion};
use crate::operations::jobs::{
    ChangeJobs, JobAction, JobId, JobRefusal, change, enqueue, reading, reveal,
};
use crate::operations::{Actor, Identity, Mode, Reason};
use crate::queue::Notifier;

pub(super) use self::bodies::BecauseIn as Because;

/// The API of jobs.
#[derive(Clone)]
pub struct JobsApi {
    /// The database of jobs.
    pub pool: PgPool,
    /// Where the list is read.
    pub reads: Reads,
    /// Wakes the workers when a job is due.
    pub notifier: Notifier,
}

#[OpenApi]
impl JobsApi {
    /// List the jobs
    ///
    /// Those that match all that is asked for, newest first; for viewers and above. A page that is
    /// not the last has a `next_cursor`: send it with the same filters to get the next page.
    /// Parameters such as `state` may appear several times.
    #[oai(path = "/v1/jobs", method = "get", operation_id = "list_jobs", tag = "ApiTags::Jobs")]
    async fn list_jobs(
        &self,
        caller: Caller,
        query: JobQuery,
    ) -> Result<Listed, Refused<ListJobs>> {
        caller.require(Right::Read)?;
        let list = format!("list_jobs 1 {:?}", query.selection);
        let before = query.cursor.map(|text| read_cursor::<8>(&text, &list)).transpose()?;
        let before = before.map(|key| JobId(i64::from_be_bytes(key)));
        // By the clock of the primary.
        let filter =
            within_seconds(&self.pool, async |conn| Ok(query.selection.into_filter(conn).await?));
        let filter = &filter.await?;
        let page = read_recent(&self.reads, move |mut conn| async move {
            let page = reading::list(&mut conn, filter, before, query.limit.into()).await;
            page.map_err(about_a_filter)
        });
        let (page, age) = page.await?;
        Ok(Listed::Ok(Json(JobPageOut::new(page, &list)), age))
    }

    /// Get one job
    ///
    /// With the reason why it has not run, its attempts, what operators did to it, and the order or
    /// transaction that it is about; for viewers and above. Its `ETag` changes with each attempt
    /// and with whatever an operator does to it: send it back as `If-Match` with an edit.
    #[oai(
        path = "/v1/jobs/:job_id",
        method = "get",
        operation_id = "get_job",
        tag = "ApiTags::Jobs"
    )]
    async fn get_job(
        &self,
        caller: Caller,
        /// The number of the job.
        job_id: Path<Id<i64>>,
    ) -> Result<Found, Refused<GetJob>> {
        caller.require(Right::Read)?;
        let found = within_seconds(&self.pool, async |conn| {
            Ok(reading::explain(conn, JobId(job_id.0.0)).await?)
        });
        let found = found.await?.ok_or_else(|| Problem::new(Code::JobNotFound))?;
        let etag = etag(JobVersion::of(&found.job).as_str());
        Ok(Found::Ok(Json(found.into()), etag))
    }

    /// Enqueue a job
    ///
    /// Of a kind that this program knows, with arguments that it can have. For admins, because a
    /// job can move money; what is asked for twice is enqueued twice.
    #[oai(path = "/v1/jobs", method = "post", operation_id = "enqueue_job", tag = "ApiTags::Jobs")]
    async fn enqueue_job(
        &self,
        caller: Caller,
        body: JsonBody<NewJobIn>,
    ) -> Result<Enqueued, Refused<EnqueueJob>> {
        caller.require(Right::Decide)?;
        let (reason, job) = body.read()?;
        let by = Identity::from(caller).because(reason);
        let enqueued = enqueue::enqueue(&self.pool, job, &by).await.map_err(Problem::from)?;
        self.notifier.notify();
        let location = format!("/v1/jobs/{}", enqueued.id);
        Ok(Enqueued::Created(Json(enqueued.into()), location))
    }

    /// Run a waiting job now
    ///
    /// One that waits for its time, or to be tried again, is due at once. Discarded ones stay as
    /// they are: to run again, they need a retry. For operators and admins; who, when and why is
    /// kept.
    #[oai(
        path = "/v1/jobs/:job_id/run-now",
        method = "post",
        operation_id = "run_job_now",
        tag = "ApiTags::Jobs"
    )]
    async fn run_job_now(
        &self,
        caller: Caller,
        /// The number of the job.
        job_id: Path<Id<i64>>,
        body: JsonBody<BecauseIn>,
    ) -> Result<Changed, Refused<ChangeJob>> {
        caller.require(Right::Operate)?;
        Ok(self.change(caller, job_id.0.0, JobAction::RunNow, body.read()?).await?)
    }

    /// Retry a job
    ///
    /// One that waits is due at once, and a discarded one runs again under its old number, by the
    /// rules of dead letters. For admins, because that can move money; who, when and why is kept.
    #[oai(
        path = "/v1/jobs/:job_id/retry",
        method = "post",
        operation_id = "retry_job",
        tag = "ApiTags::Jobs"
    )]
    async fn retry_job(
        &self,
        caller: Caller,
        /// The number of the job.
        job_id: Path<Id<i64>>,
        body: JsonBody<BecauseIn>,
    ) -> Result<Changed, Refused<ChangeJob>> {
        caller.require(Right::Decide)?;
        Ok(self.change(caller, job_id.0.0, JobAction::Retry, body.read()?).await?)
    }

    /// Cancel a job
    ///
    /// One that waits is cancelled at once; the worker of one that runs is asked to stop it. Jobs
    /// about money are not cancelled. For operators and admins; who, when and why is kept.
    #[oai(
        path = "/v1/jobs/:job_id/cancel",
        method = "post",
        operation_id = "cancel_job",
        tag = "ApiTags::Jobs"
    )]
    async fn cancel_job(
        &self,
        caller: Caller,
        /// The number of the job.
        job_id: Path<Id<i64>>,
        body: JsonBody<BecauseIn>,
    ) -> Result<Changed, Refused<ChangeJob>> {
        caller.require(Right::Operate)?;
        Ok(self.change(caller, job_id.0.0, JobAction::Cancel, body.read()?).await?)
    }

    /// Discard a waiting job
    ///
    /// It runs no more until somebody decides over it, as over any dead letter. For operators and
    /// admins; who, when and why is kept.
    #[oai(
        path = "/v1/jobs/:job_id/discard",
        method = "post",
        operation_id = "discard_job",
        tag = "ApiTags::Jobs"
    )]
    async fn discard_job(
        &self,
        caller: Caller,
        /// The number of the job.
        job_id: Path<Id<i64>>,
        body: JsonBody<BecauseIn>,
    ) -> Result<Changed, Refused<ChangeJob>> {
        caller.require(Right::Operate)?;
        Ok(self.change(caller, job_id.0.0, JobAction::Discard, body.read()?).await?)
    }

    /// Edit the arguments of a job
    ///
    /// Of one that waits or is discarded, if its kind can have such arguments; both are kept. Jobs
    /// about money are not edited. With `If-Match`, only if nobody has changed the job since. For
    /// operators and admins; who, when and why is kept.
    #[oai(
        path = "/v1/jobs/:job_id",
        method = "patch",
        operation_id = "edit_job",
        tag = "ApiTags::Jobs"
    )]
    async fn edit_job(
        &self,
        caller: Caller,
        /// The number of the job.
        job_id: Path<Id<i64>>,
        /// The ETag that the job must still have.
        #[oai(name = "If-Match")]
        if_match: IfMatch<String>,
        body: JsonBody<JobEditIn>,
    ) -> Result<Changed, Refused<EditJob>> {
        caller.require(Right::Operate)?;
        let (reason, change) = body.read()?;
        let actor = Actor { identity: caller.into(), reason };
        let if_version = if_match.0.as_deref().map(JobVersion::from_text);
        let id = JobId(job_id.0.0);
        let request = edit::EditJob { id, change, if_version, mode: Mode::Commit };
        let edited = edit::edit(&self.pool, request, &actor).await.map_err(Problem::from)?;
        let change = edited.outcome.map_err(Problem::from)?;
        Ok(Changed::Ok(Json(ChangedJobOut::new(id, change))))
    }

    /// Reveal the arguments of a job
    ///
    /// As they are stored, with what its kind hides everywhere else; sealed arguments stay sealed.
    /// For admins; who asked, when and why is in the audit log before anything is shown.
    #[oai(
        path = "/v1/jobs/:job_id/reveal",
        method = "post",
        operation_id = "reveal_job_args",
        tag = "ApiTags::Jobs"
    )]
    async fn reveal_job_args(
        &self,
        caller: Caller,
        /// The number of the job.
        job_id: Path<Id<i64>>,
        body: JsonBody<BecauseIn>,
    ) -> Result<Revealed, Refused<ChangeJob>> {
        caller.require(Right::Decide)?;
        let actor = Actor { identity: caller.into(), reason: body.read()? };
        let revealed = within_seconds(&self.pool, async |conn| {
            Ok(reveal::reveal(conn, JobId(job_id.0.0), &actor).await?)
        });
        let revealed = revealed.await?.map_err(Problem::from)?;
        Ok(Revealed::Ok(Json(revealed.into())))
    }
}

impl JobsApi {
    async fn change(
        &self,
        caller: Caller,
        id: i64,
        action: JobAction,
        reason: Reason,
    ) -> Result<Changed, Problem> {
        let (id, actor) = (JobId(id), Actor { identity: caller.into(), reason });
        let results = within_seconds(&self.pool, async |conn| {
            let request = ChangeJobs { action, ids: &[id], mode: Mode::Commit };
            Ok(change::change(conn, request, &actor).await?)
        });
        let outcome = results.await?.pop().map_or(Err(JobRefusal::NOT_FOUND), |it| it.outcome);
        let change = outcome?;
        self.notifier.notify();
        Ok(Changed::Ok(Json(ChangedJobOut::new(id, change))))
    }
}

#[derive(ApiResponse)]
enum Listed {
    /// The page.
    #[oai(status = 200)]
    Ok(
        Json<JobPageOut>,
        /// The greatest age of what is shown, in seconds; absent when it is up to the moment.
        #[oai(header = "Data-Age")]
        Option<f64>,
    ),
}

#[derive(ApiResponse)]
enum Found {
    /// The job as it stands.
    #[oai(status = 200)]
    Ok(
        Json<JobDetailsOut>,
        /// The version, for `If-Match`.
        #[oai(header = "ETag")]
        String,
    ),
}

#[derive(ApiResponse)]
enum Enqueued {
    /// The job is enqueued.
    #[oai(status = 201)]
    Created(
        Json<EnqueuedJobOut>,
        /// The path at which to read it.
        #[oai(header = "Location")]
        String,
    ),
}

#[derive(ApiResponse)]
enum Changed {
    /// The job is changed, or was so before.
    #[oai(status = 200)]
    Ok(Json<ChangedJobOut>),
}

#[derive(ApiResponse)]
enum Revealed {
    /// The arguments as they are stored.
    #[oai(status = 200)]
    Ok(Json<RevealedArgsOut>),
}
