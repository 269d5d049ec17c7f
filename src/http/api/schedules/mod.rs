//! Schedules: reading them, holding them up, and running one now.
//!
//! - Here: the operations.
//! - `bodies`, `refusals`: what goes out, and the codes of each operation.

mod bodies;
mod refusals;

use poem::http::Uri;
use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, OpenApi};
use sqlx::PgPool;

use self::bodies::{ScheduleDetailsOut, SchedulePageOut, ScheduleRunOut};
use self::refusals::{ChangeSchedule, GetSchedule, ListSchedules, RunSchedule};
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
use crate::operations::schedules::{self, SchedulesError, ShownSchedule};
use crate::operations::{Actor, Identity, Mode};
use crate::queue::Notifier;

/// The latest ticks that are shown.
const SHOWN_TICKS: u32 = 20;

/// The API of schedules.
#[derive(Clone)]
pub struct SchedulesApi {
    /// The database of schedules.
    pub pool: PgPool,
    /// Wakes the workers when a job is enqueued.
    pub notifier: Notifier,
}

#[OpenApi]
impl SchedulesApi {
    /// List schedules
    ///
    /// By name, each with its next tick; for viewers and above.
    #[oai(
        path = "/v1/schedules",
        method = "get",
        operation_id = "list_schedules",
        tag = "ApiTags::Schedules"
    )]
    async fn list_schedules(
        &self,
        caller: Caller,
        uri: &Uri,
        /// The most items on a page; 50 when absent.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Listed, Refused<ListSchedules>> {
        caller.require(Right::Read)?;
        refuse_unknown_parameters(uri, &["limit", "cursor"])?;
        let after = cursor.0.map(|text| read_text_cursor(&text, LIST)).transpose()?;
        let limit = limit.0.unwrap_or(DEFAULT_LIMIT);
        let found = within_seconds(&self.pool, async |conn| {
            Ok(schedules::page(conn, after.as_deref(), u32::from(limit) + 1).await?)
        });
        let (found, last) = lists::page(found.await?, limit);
        Ok(Listed::Ok(Json(SchedulePageOut {
            schedules: found.into_iter().map(Into::into).collect(),
            next_cursor: last.map(|last| cursor_after_text(last.name.as_bytes(), LIST)),
        })))
    }

    /// Get a schedule
    ///
    /// With its next ticks and its latest ones; for viewers and above.
    #[oai(
        path = "/v1/schedules/:schedule",
        method = "get",
        operation_id = "get_schedule",
        tag = "ApiTags::Schedules"
    )]
    async fn get_schedule(
        &self,
        caller: Caller,
        /// The name of the schedule, percent-encoded where needed.
        schedule: Path<String>,
    ) -> Result<Found, Refused<GetSchedule>> {
        caller.require(Right::Read)?;
        Ok(Found::Ok(Json(self.find(&name(schedule.0)?).await?.into())))
    }

    /// Pause a schedule
    ///
    /// It makes no more jobs until it is resumed. For operators and admins; who, when and why is
    /// kept.
    #[oai(
        path = "/v1/schedules/:schedule/pause",
        method = "post",
        operation_id = "pause_schedule",
        tag = "ApiTags::Schedules"
    )]
    async fn pause_schedule(
        &self,
        caller: Caller,
        /// The name of the schedule, percent-encoded where needed.
        schedule: Path<String>,
        body: JsonBody<Because>,
    ) -> Result<Found, Refused<ChangeSchedule>> {
        caller.require(Right::Operate)?;
        let name = name(schedule.0)?;
        let actor = Actor { identity: caller.into(), reason: body.read()? };
        within_seconds(&self.pool, async |conn| {
            Ok(schedules::pause(conn, &name, &actor, Mode::Commit).await?)
        })
        .await?;
        Ok(Found::Ok(Json(self.find(&name).await?.into())))
    }

    /// Resume a schedule
    ///
    /// It ticks again; ticks that came meanwhile are passed over. For operators and admins; who,
    /// when and why is kept.
    #[oai(
        path = "/v1/schedules/:schedule/resume",
        method = "post",
        operation_id = "resume_schedule",
        tag = "ApiTags::Schedules"
    )]
    async fn resume_schedule(
        &self,
        caller: Caller,
        /// The name of the schedule, percent-encoded where needed.
        schedule: Path<String>,
        body: JsonBody<Because>,
    ) -> Result<Found, Refused<ChangeSchedule>> {
        caller.require(Right::Operate)?;
        let name = name(schedule.0)?;
        let by = Identity::from(caller).because(body.read()?);
        within_seconds(&self.pool, async |conn| {
            Ok(schedules::resume(conn, &name, &by, Mode::Commit).await?)
        })
        .await?;
        Ok(Found::Ok(Json(self.find(&name).await?.into())))
    }

    /// Run a schedule now
    ///
    /// Enqueues its job at once, beside its ticks. For operators and admins; who, when and why is
    /// kept.
    #[oai(
        path = "/v1/schedules/:schedule/run",
        method = "post",
        operation_id = "run_schedule",
        tag = "ApiTags::Schedules"
    )]
    async fn run_schedule(
        &self,
        caller: Caller,
        /// The name of the schedule, percent-encoded where needed.
        schedule: Path<String>,
        body: JsonBody<Because>,
    ) -> Result<Ran, Refused<RunSchedule>> {
        caller.require(Right::Operate)?;
        let name = name(schedule.0)?;
        let by = Identity::from(caller).because(body.read()?);
        let job = within_seconds(&self.pool, async |conn| {
            Ok(schedules::run_now(conn, &name, &by, Mode::Commit).await?)
        });
        let job = job.await?.ok_or_else(|| Problem::new(Code::ScheduleNotFound))?;
        self.notifier.notify();
        Ok(Ran::Accepted(Json(ScheduleRunOut { job_id: job.0 })))
    }
}

impl SchedulesApi {
    async fn find(&self, name: &str) -> Result<ShownSchedule, Problem> {
        let found = within_seconds(&self.pool, async |conn| {
            Ok(schedules::find(conn, name, SHOWN_TICKS).await?)
        });
        found.await?.ok_or_else(|| Problem::new(Code::ScheduleNotFound))
    }
}

/// The list that a cursor of schedules is bound to.
const LIST: &str = "list_schedules 1";

/// A name that a schedule may have.
fn name(text: String) -> Result<String, Problem> {
    match text.contains('\0') {
        true => Err(Problem::new(Code::ScheduleNotFound)),
        false => Ok(text),
    }
}

impl From<SchedulesError> for Problem {
    fn from(error: SchedulesError) -> Self {
        match error {
            SchedulesError::NotFound => Self::new(Code::ScheduleNotFound),
            // Nothing here defines a schedule.
            SchedulesError::NameTaken => Self::new(Code::InternalError).cause(error),
            SchedulesError::AlreadyPaused(pause) => Self::new(Code::SchedulePaused)
                .detail(format!("{} has paused the schedule before.", pause.by)),
            SchedulesError::NotPaused => Self::new(Code::ScheduleNotPaused),
            SchedulesError::Queue(error) => error.into(),
        }
    }
}

#[derive(ApiResponse)]
enum Listed {
    /// The page.
    #[oai(status = 200)]
    Ok(Json<SchedulePageOut>),
}

#[derive(ApiResponse)]
enum Found {
    /// The schedule as it stands.
    #[oai(status = 200)]
    Ok(Json<ScheduleDetailsOut>),
}

#[derive(ApiResponse)]
enum Ran {
    /// The job is enqueued.
    #[oai(status = 202)]
    Accepted(Json<ScheduleRunOut>),
}
