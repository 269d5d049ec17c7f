//! Workers: who works, what each runs, and ending one in good order.

use poem::http::Uri;
use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde::Serialize;
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use super::ApiTags;
use super::jobs::Because;
use crate::http::edge::caller::{self, Caller, Right};
use crate::http::edge::database::within_seconds;
use crate::http::wire::id::Id;
use crate::http::wire::json_body::{self, JsonBody};
use crate::http::wire::lists::{
    self, DEFAULT_LIMIT, cursor_after, read_cursor, refuse_unknown_parameters,
};
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, Problem};
use crate::http::wire::refused::{Refusals, Refused};
use crate::operations::workers::{
    self, DrainWorkers, RunningJob, WorkerDrain, WorkerInfo, WorkerScope, WorkerState, WorkerView,
};
use crate::operations::{Actor, Mode};

/// The API of workers.
#[derive(Clone)]
pub struct WorkersApi {
    /// The database in which workers report.
    pub pool: PgPool,
}

#[OpenApi]
impl WorkersApi {
    /// List workers
    ///
    /// Those that were seen within the last day, by number, each with the jobs that it has in
    /// progress, the longest running first; for viewers and above.
    #[oai(
        path = "/v1/workers",
        method = "get",
        operation_id = "list_workers",
        tag = "ApiTags::Workers"
    )]
    async fn list_workers(
        &self,
        caller: Caller,
        uri: &Uri,
        /// The most items on a page; 50 when absent.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Listed, Refused<ListWorkers>> {
        caller.require(Right::Read)?;
        refuse_unknown_parameters(uri, &["limit", "cursor"])?;
        let after = cursor.0.map(|text| read_cursor::<16>(&text, LIST)).transpose()?;
        let after = after.map(Uuid::from_bytes);
        let limit = limit.0.unwrap_or(DEFAULT_LIMIT);
        let found = within_seconds(&self.pool, async |conn| {
            Ok(workers::page(conn, after, u32::from(limit) + 1).await?)
        });
        let (found, last) = lists::page(found.await?, limit);
        Ok(Listed::Ok(Json(WorkerPage {
            workers: found.into_iter().map(Into::into).collect(),
            next_cursor: last.map(|last| cursor_after(last.worker.id.into_bytes(), LIST)),
        })))
    }

    /// Get a worker
    ///
    /// With the jobs that it has in progress, the longest running first; for viewers and above.
    #[oai(
        path = "/v1/workers/:worker_id",
        method = "get",
        operation_id = "get_worker",
        tag = "ApiTags::Workers"
    )]
    async fn get_worker(
        &self,
        caller: Caller,
        /// The id of the worker.
        worker_id: Path<Id<Uuid>>,
    ) -> Result<Found, Refused<GetWorker>> {
        caller.require(Right::Read)?;
        Ok(Found::Ok(Json(self.find(worker_id.0.0).await?.into())))
    }

    /// Drain a worker
    ///
    /// It claims nothing more, lets its jobs finish within its grace, hands the others back, and
    /// ends. It sees the request within a second; once it has ended, it is not found any more. For
    /// operators and admins; who, when and why is kept.
    #[oai(
        path = "/v1/workers/:worker_id/drain",
        method = "post",
        operation_id = "drain_worker",
        tag = "ApiTags::Workers"
    )]
    async fn drain_worker(
        &self,
        caller: Caller,
        /// The id of the worker.
        worker_id: Path<Id<Uuid>>,
        body: JsonBody<Because>,
    ) -> Result<Drained, Refused<DrainWorker>> {
        caller.require(Right::Operate)?;
        let actor = Actor { identity: caller.into(), reason: body.read()? };
        let scope = WorkerScope::These(vec![worker_id.0.0]);
        let request = DrainWorkers { scope, mode: Mode::Commit, wait: None };
        let drained = workers::drain(&self.pool, request, &actor).await.map_err(Problem::from)?;
        match drained.first().map(|drained| drained.result) {
            None | Some(WorkerDrain::NotFound) => Err(Problem::new(Code::WorkerNotFound).into()),
            Some(WorkerDrain::Lost) => Err(Problem::new(Code::WorkerLost).into()),
            Some(_) => Ok(Drained::Accepted(Json(self.find(worker_id.0.0).await?.into()))),
        }
    }
}

impl WorkersApi {
    async fn find(&self, id: Uuid) -> Result<WorkerView, Problem> {
        let found = within_seconds(&self.pool, async |conn| Ok(workers::find(conn, id).await?));
        found.await?.ok_or_else(|| Problem::new(Code::WorkerNotFound))
    }
}

/// The list that a cursor of workers is bound to.
const LIST: &str = "list_workers 1";

/// The state of a worker.
#[derive(Clone, Copy, Debug, Serialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename = "WorkerState", rename_all = "snake_case")]
enum WorkerStateName {
    /// It claims and runs jobs.
    Working,
    /// It claims nothing more, and finishes what it has.
    Draining,
    /// It was not seen for so long that its leases are over.
    Lost,
}

impl From<WorkerState> for WorkerStateName {
    fn from(state: WorkerState) -> Self {
        match state {
            WorkerState::Working => Self::Working,
            WorkerState::Draining => Self::Draining,
            WorkerState::Lost => Self::Lost,
        }
    }
}

/// A worker, as it was last seen, and what it runs now.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Worker")]
struct WorkerOut {
    /// The id under which it claims jobs.
    id: Uuid,
    /// The state of the worker.
    state: WorkerStateName,
    /// The machine.
    host: String,
    /// The process on that machine.
    pid: i32,
    /// The version of its program.
    version: String,
    /// The queues that it claims from.
    queues: Vec<String>,
    /// The kinds that it knows.
    kinds: Vec<String>,
    /// The most jobs that it has in progress at once.
    slots: i32,
    /// The number of jobs in progress when it was last seen.
    running: i32,
    /// The moment of its start.
    #[serde(with = "time::serde::rfc3339")]
    started_at: OffsetDateTime,
    /// The moment at which it was last seen.
    #[serde(with = "time::serde::rfc3339")]
    last_seen_at: OffsetDateTime,
    /// The moment at which it was asked to drain; null if it was not.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    drain_requested_at: Option<OffsetDateTime>,
    /// The one who asked.
    #[oai(nullable)]
    drain_requested_by: Option<String>,
    /// The reason that was given.
    #[oai(nullable)]
    drain_reason: Option<String>,
    /// The jobs that it has in progress, the longest running first; at most 1,000 of all workers
    /// together.
    jobs: Vec<RunningJobOut>,
}

impl From<WorkerView> for WorkerOut {
    fn from(WorkerView { worker, jobs }: WorkerView) -> Self {
        let WorkerInfo { id, state, host, pid, version, queues, kinds, slots, running, .. } =
            worker;
        Self {
            id,
            state: state.into(),
            host,
            pid,
            version,
            queues,
            kinds,
            slots,
            running,
            started_at: worker.started_at,
            last_seen_at: worker.last_seen_at,
            drain_requested_at: worker.drain_requested_at,
            drain_requested_by: worker.drain_requested_by,
            drain_reason: worker.drain_reason,
            jobs: jobs.into_iter().map(Into::into).collect(),
        }
    }
}

/// A job that a worker has in progress.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "RunningJob")]
struct RunningJobOut {
    /// The number of the job.
    id: i64,
    /// The kind of the job.
    kind: String,
    /// The queue that it is in.
    queue: String,
    /// The key that it shares with others; null for none.
    #[oai(nullable)]
    key: Option<String>,
    /// The number of this attempt.
    attempt: i16,
    /// After so many failed attempts it is discarded.
    max_attempts: i16,
    /// The moment at which the worker claimed it.
    #[serde(with = "time::serde::rfc3339")]
    started_at: OffsetDateTime,
    /// True once somebody has asked to cancel it.
    is_to_be_cancelled: bool,
    /// The progress in percent; null if its handler tells of none.
    #[oai(nullable)]
    progress: Option<i16>,
    /// The same in words.
    #[oai(nullable)]
    progress_text: Option<String>,
}

impl From<RunningJob> for RunningJobOut {
    fn from(job: RunningJob) -> Self {
        Self {
            id: job.id.0,
            kind: job.kind,
            queue: job.queue,
            key: job.key,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            started_at: job.started_at,
            is_to_be_cancelled: job.is_to_be_cancelled,
            progress: job.progress,
            progress_text: job.progress_text,
        }
    }
}

/// A page of workers, by id.
#[derive(Debug, Serialize, Object)]
struct WorkerPage {
    /// The workers of this page.
    workers: Vec<WorkerOut>,
    /// The `cursor` of the next page; null on the last page.
    #[oai(nullable)]
    next_cursor: Option<String>,
}

#[derive(ApiResponse)]
enum Listed {
    /// The page.
    #[oai(status = 200)]
    Ok(Json<WorkerPage>),
}

#[derive(ApiResponse)]
enum Found {
    /// The worker as it was last seen.
    #[oai(status = 200)]
    Ok(Json<WorkerOut>),
}

#[derive(ApiResponse)]
enum Drained {
    /// The worker is asked to end, or was so before.
    #[oai(status = 202)]
    Accepted(Json<WorkerOut>),
}

/// The refusals of `list_workers`.
#[derive(Debug)]
struct ListWorkers;

impl Refusals for ListWorkers {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::InvalidCursor, Code::Forbidden]];
}

/// The refusals of `get_worker`.
#[derive(Debug)]
struct GetWorker;

impl Refusals for GetWorker {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::Forbidden, Code::WorkerNotFound]];
}

/// The refusals of `drain_worker`.
#[derive(Debug)]
struct DrainWorker;

impl Refusals for DrainWorker {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        json_body::REFUSALS,
        &[Code::InvalidParameter, Code::Forbidden, Code::WorkerNotFound, Code::WorkerLost],
    ];
}
