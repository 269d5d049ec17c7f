//! Queues: reading them, and holding them up, limiting them and letting blocked keys go on.
//!
//! - Here: pausing and draining, and reading queues.
//! - `limits`: limits and blocked keys.
//! - `bodies`, `refusals`: what goes in and out, and the codes of each operation.

mod bodies;
mod limits;
mod refusals;

use std::time::Duration;

use poem::http::Uri;
use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, OpenApi};
use sqlx::PgPool;

pub(super) use self::bodies::{PauseOut, QueueOut};
pub use self::limits::QueueLimitsApi;

use self::bodies::{DrainedOut, PauseChangeOut, QueuePageOut};
use self::refusals::{ChangeAll, ChangeQueue, GetQueue, ListQueues};
use super::ApiTags;
use super::jobs::Because;
use crate::http::edge::caller::{Caller, Right};
use crate::http::edge::database::within_seconds;
use crate::http::wire::json_body::JsonBody;
use crate::http::wire::lists::{
    self, DEFAULT_LIMIT, cursor_after_text, read_text_cursor, refuse_unknown_parameters,
};
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, Problem};
use crate::http::wire::refused::Refused;
use crate::operations::queues::{self, PauseResult, QueueScope, QueuesError};
use crate::operations::{Actor, Identity, Reason};
use crate::queue::Notifier;

/// The longest that a drain is waited for.
const DRAIN_WITHIN: Duration = Duration::from_secs(3);

/// The most characters of a queue's name.
const MAX_NAME_CHARS: usize = 100;

/// The API of queues.
#[derive(Clone)]
pub struct QueuesApi {
    /// The database of queues.
    pub pool: PgPool,
    /// Wakes the workers when jobs may start again.
    pub notifier: Notifier,
}

#[OpenApi]
impl QueuesApi {
    /// List queues
    ///
    /// Those that have unfinished jobs, a pause or limits, by name; for viewers and above. Jobs are
    /// counted up to a bound.
    #[oai(
        path = "/v1/queues",
        method = "get",
        operation_id = "list_queues",
        tag = "ApiTags::Queues"
    )]
    async fn list_queues(
        &self,
        caller: Caller,
        uri: &Uri,
        /// The most items on a page; 50 when absent.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Listed, Refused<ListQueues>> {
        caller.require(Right::Read)?;
        refuse_unknown_parameters(uri, &["limit", "cursor"])?;
        let after = cursor.0.map(|text| read_text_cursor(&text, LIST)).transpose()?;
        let limit = limit.0.unwrap_or(DEFAULT_LIMIT);
        let found = within_seconds(&self.pool, async |conn| {
            let found = queues::page(conn, after.as_deref(), u32::from(limit) + 1).await?;
            Ok((found, queues::pause_of(conn, &QueueScope::All).await?))
        });
        let (found, pause_of_all) = found.await?;
        let (found, last) = lists::page(found, limit);
        Ok(Listed::Ok(Json(QueuePageOut {
            queues: found.into_iter().map(Into::into).collect(),
            pause_of_all: pause_of_all.map(Into::into),
            next_cursor: last.map(|last| cursor_after_text(last.queue.as_bytes(), LIST)),
        })))
    }

    /// Get a queue
    ///
    /// With its jobs in figures, its pause and its limits; for viewers and above.
    #[oai(
        path = "/v1/queues/:queue",
        method = "get",
        operation_id = "get_queue",
        tag = "ApiTags::Queues"
    )]
    async fn get_queue(
        &self,
        caller: Caller,
        /// The name of the queue, percent-encoded where needed.
        queue: Path<String>,
    ) -> Result<Found, Refused<GetQueue>> {
        caller.require(Right::Read)?;
        let name = name(queue.0)?;
        let found =
            within_seconds(&self.pool, async |conn| Ok(queues::find(conn, &name).await?)).await?;
        let found = found.ok_or_else(|| Problem::new(Code::QueueNotFound))?;
        Ok(Found::Ok(Json(found.queue.into())))
    }

    /// Pause a queue
    ///
    /// No more of its jobs start, those that run go on. A queue can be paused before there is a job
    /// in it. An earlier pause stays as it was. For operators and admins; who, when and why is
    /// kept.
    #[oai(
        path = "/v1/queues/:queue/pause",
        method = "post",
        operation_id = "pause_queue",
        tag = "ApiTags::Queues"
    )]
    async fn pause_queue(
        &self,
        caller: Caller,
        /// The name of the queue, percent-encoded where needed.
        queue: Path<String>,
        body: JsonBody<Because>,
    ) -> Result<PauseChanged, Refused<ChangeQueue>> {
        caller.require(Right::Operate)?;
        Ok(self.pause(caller, QueueScope::One(name(queue.0)?), body.read()?).await?)
    }

    /// Resume a queue
    ///
    /// Its jobs start again, unless all queues are paused: then `pause` says so. For operators and
    /// admins; who, when and why is kept.
    #[oai(
        path = "/v1/queues/:queue/resume",
        method = "post",
        operation_id = "resume_queue",
        tag = "ApiTags::Queues"
    )]
    async fn resume_queue(
        &self,
        caller: Caller,
        /// The name of the queue, percent-encoded where needed.
        queue: Path<String>,
        body: JsonBody<Because>,
    ) -> Result<PauseChanged, Refused<ChangeQueue>> {
        caller.require(Right::Operate)?;
        Ok(self.resume(caller, QueueScope::One(name(queue.0)?), body.read()?).await?)
    }

    /// Drain a queue
    ///
    /// Pauses it and waits a moment for its running jobs to end. While the answer says that some
    /// still run, ask again. For operators and admins; who, when and why is kept.
    #[oai(
        path = "/v1/queues/:queue/drain",
        method = "post",
        operation_id = "drain_queue",
        tag = "ApiTags::Queues"
    )]
    async fn drain_queue(
        &self,
        caller: Caller,
        /// The name of the queue, percent-encoded where needed.
        queue: Path<String>,
        body: JsonBody<Because>,
    ) -> Result<Drained, Refused<ChangeQueue>> {
        caller.require(Right::Operate)?;
        let name = name(queue.0)?;
        let actor = Actor { identity: caller.into(), reason: body.read()? };
        let drained = queues::drain(&self.pool, &name, DRAIN_WITHIN, &actor).await;
        Ok(Drained::Ok(Json(drained.map_err(Problem::from)?.into())))
    }

    /// Pause all queues
    ///
    /// No more jobs start, of whatever queue; those that run go on. For operators and admins; who,
    /// when and why is kept.
    #[oai(
        path = "/v1/all-queues/pause",
        method = "post",
        operation_id = "pause_all_queues",
        tag = "ApiTags::Queues"
    )]
    async fn pause_all_queues(
        &self,
        caller: Caller,
        body: JsonBody<Because>,
    ) -> Result<PauseChanged, Refused<ChangeAll>> {
        caller.require(Right::Operate)?;
        Ok(self.pause(caller, QueueScope::All, body.read()?).await?)
    }

    /// Resume all queues
    ///
    /// Queues that were paused by themselves stay paused. For operators and admins; who, when and
    /// why is kept.
    #[oai(
        path = "/v1/all-queues/resume",
        method = "post",
        operation_id = "resume_all_queues",
        tag = "ApiTags::Queues"
    )]
    async fn resume_all_queues(
        &self,
        caller: Caller,
        body: JsonBody<Because>,
    ) -> Result<PauseChanged, Refused<ChangeAll>> {
        caller.require(Right::Operate)?;
        Ok(self.resume(caller, QueueScope::All, body.read()?).await?)
    }
}

impl QueuesApi {
    async fn pause(
        &self,
        caller: Caller,
        scope: QueueScope,
        reason: Reason,
    ) -> Result<PauseChanged, Problem> {
        let actor = Actor { identity: caller.into(), reason };
        let paused = within_seconds(&self.pool, async |conn| {
            let result = queues::pause(conn, &scope, &actor).await?;
            Ok((result, queues::pause_of(conn, &scope).await?))
        });
        let (result, pause) = paused.await?;
        Ok(changed(result == PauseResult::Paused, pause))
    }

    async fn resume(
        &self,
        caller: Caller,
        scope: QueueScope,
        reason: Reason,
    ) -> Result<PauseChanged, Problem> {
        let by = Identity::from(caller).because(reason);
        let resumed = within_seconds(&self.pool, async |conn| {
            let result = queues::resume(conn, &scope, &by).await?;
            Ok((result.was_paused, queues::pause_of(conn, &scope).await?))
        });
        let (was_paused, pause) = resumed.await?;
        self.notifier.notify();
        Ok(changed(was_paused, pause))
    }
}

fn changed(is_changed: bool, pause: Option<queues::Pause>) -> PauseChanged {
    PauseChanged::Ok(Json(PauseChangeOut { is_changed, pause: pause.map(Into::into) }))
}

/// The list that a cursor of queues is bound to.
const LIST: &str = "list_queues 1";

/// A name that a queue can have: `*` stands for all of them, and control characters are in none.
fn name(text: String) -> Result<String, Problem> {
    let is_plain = !text.chars().any(char::is_control) && text.chars().count() <= MAX_NAME_CHARS;
    match is_plain && !text.is_empty() && text != "*" {
        true => Ok(text),
        false => Err(Problem::new(Code::QueueNotFound)),
    }
}

impl From<QueuesError> for Problem {
    fn from(error: QueuesError) -> Self {
        match error {
            QueuesError::TwoPeriods(..) => {
                Self::new(Code::UnacceptableValues).detail(format!("There is {error}."))
            }
            QueuesError::Stale => Self::new(Code::PreconditionFailed),
            QueuesError::Queue(error) => error.into(),
        }
    }
}

#[derive(ApiResponse)]
enum Listed {
    /// The page.
    #[oai(status = 200)]
    Ok(Json<QueuePageOut>),
}

#[derive(ApiResponse)]
enum Found {
    /// The queue as it stands.
    #[oai(status = 200)]
    Ok(Json<QueueOut>),
}

#[derive(ApiResponse)]
enum PauseChanged {
    /// The pause as it stands.
    #[oai(status = 200)]
    Ok(Json<PauseChangeOut>),
}

#[derive(ApiResponse)]
enum Drained {
    /// The queue is paused, and none of its jobs runs, or some still do.
    #[oai(status = 200)]
    Ok(Json<DrainedOut>),
}
