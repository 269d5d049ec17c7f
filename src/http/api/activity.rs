//! Activity by time, for operators' charts.

use poem::http::Uri;
use poem_openapi::param::Query;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde::Serialize;
use time::OffsetDateTime;

use super::ApiTags;
use crate::http::edge::caller::{self, Caller, Right};
use crate::http::edge::reads::{Reads, read_recent};
use crate::http::wire::lists::refuse_unknown_parameters;
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, Problem};
use crate::http::wire::refused::{Refusals, Refused};
use crate::operations::activity::{
    self, ActivityError, DepthPoint, IntakePoint, JobsPoint, Percentiles, Span,
};

/// The API of activity.
#[derive(Clone)]
pub struct ActivityApi {
    /// Where it is read.
    pub reads: Reads,
}

#[OpenApi]
impl ActivityApi {
    /// Get activity by time
    ///
    /// Ended attempts with their times, waiting jobs, and inbound webhooks by their answer, in
    /// points from the oldest to the one that goes on; for viewers and above. The points are
    /// complete: a time without anything has zeros. A minute is there some ten seconds after it has
    /// passed.
    #[oai(
        path = "/v1/activity",
        method = "get",
        operation_id = "get_activity",
        tag = "ApiTags::System"
    )]
    async fn get_activity(
        &self,
        caller: Caller,
        uri: &Uri,
        /// The time until now: an hour in minutes, a day in quarters of an hour, a week in hours;
        /// `1h` when absent.
        span: Query<Option<SpanName>>,
        /// Only jobs of this queue.
        queue: Query<Option<String>>,
        /// Only ended attempts of this kind.
        kind: Query<Option<String>>,
    ) -> Result<Given, Refused<GetActivity>> {
        caller.require(Right::Read)?;
        refuse_unknown_parameters(uri, &["span", "queue", "kind"])?;
        let span = Span::from(span.0.unwrap_or(SpanName::Hour));
        let (queue, kind) = (name("queue", queue.0)?, name("kind", kind.0)?);
        let (queue, kind) = (queue.as_deref(), kind.as_deref());
        let found = read_recent(&self.reads, move |mut conn| async move {
            Ok(ActivityOut {
                span: span.as_str().to_owned(),
                jobs: out(activity::jobs(&mut conn, span, queue, kind).await?),
                depth: out(activity::depth(&mut conn, span, queue).await?),
                intake: out(activity::intake(&mut conn, span).await?),
            })
        });
        let (found, age) = found.await?;
        Ok(Given::Ok(Json(found), age))
    }
}

/// The longest name of a queue or kind.
const MAX_NAME_CHARS: usize = 100;

fn name(parameter: &str, value: Option<String>) -> Result<Option<String>, Problem> {
    let is_none = |text: &String| {
        text.is_empty() || text.contains('\0') || text.chars().count() > MAX_NAME_CHARS
    };
    match value.as_ref().is_some_and(is_none) {
        true => Err(Problem::parameter(parameter, "No queue or kind has such a name.")),
        false => Ok(value),
    }
}

fn out<P, O: From<P>>(points: Vec<P>) -> Vec<O> {
    points.into_iter().map(O::from).collect()
}

/// A span of time until now.
#[derive(Clone, Copy, Enum)]
#[oai(rename = "ActivitySpan")]
enum SpanName {
    /// Sixty minutes.
    #[oai(rename = "1h")]
    Hour,
    /// Ninety-six quarters of an hour.
    #[oai(rename = "24h")]
    Day,
    /// A hundred and sixty-eight hours.
    #[oai(rename = "7d")]
    Week,
}

impl From<SpanName> for Span {
    fn from(name: SpanName) -> Self {
        match name {
            SpanName::Hour => Self::Hour,
            SpanName::Day => Self::Day,
            SpanName::Week => Self::Week,
        }
    }
}

/// Activity by time.
#[derive(Clone, Debug, Serialize, Object)]
#[oai(rename = "Activity")]
struct ActivityOut {
    /// The span: `1h`, `24h` or `7d`.
    span: String,
    /// Attempts that ended.
    jobs: Vec<JobsOut>,
    /// Jobs that waited.
    depth: Vec<DepthOut>,
    /// Inbound webhooks, of all sources; neither `queue` nor `kind` matters to them.
    intake: Vec<IntakeOut>,
}

/// The attempts that ended within one step.
#[derive(Clone, Debug, Serialize, Object)]
#[oai(rename = "ActivityOfJobs")]
struct JobsOut {
    /// The beginning of the step.
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    /// Jobs that were completed.
    completed: i64,
    /// Attempts that failed and are tried again.
    retried: i64,
    /// Jobs that were discarded.
    discarded: i64,
    /// The times, in seconds, from when jobs were due to their claim.
    wait: PercentilesOut,
    /// The times, in seconds, from their claim to the end of the attempt.
    run: PercentilesOut,
}

/// Seconds that one half, 95 % and 99 % took at most; null where there were none.
#[derive(Clone, Copy, Debug, Serialize, Object)]
#[oai(rename = "Percentiles")]
struct PercentilesOut {
    /// The median.
    #[oai(nullable)]
    p50: Option<f64>,
    /// 95 % took at most this.
    #[oai(nullable)]
    p95: Option<f64>,
    /// 99 % took at most this.
    #[oai(nullable)]
    p99: Option<f64>,
}

/// The jobs that waited: the most that were seen within one step.
#[derive(Clone, Debug, Serialize, Object)]
#[oai(rename = "ActivityOfQueues")]
struct DepthOut {
    /// The beginning of the step.
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    /// Due jobs that nobody ran, counted up to 50,000 in each queue.
    waiting: i64,
    /// The age of the oldest of them in seconds; null when none waited.
    #[oai(nullable)]
    oldest_secs: Option<f64>,
}

/// The inbound webhooks that were answered within one step.
#[derive(Clone, Debug, Serialize, Object)]
#[oai(rename = "ActivityOfIntake")]
struct IntakeOut {
    /// The beginning of the step.
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    /// Webhooks that brought a new transaction.
    accepted: i64,
    /// Webhooks whose transaction was known already.
    duplicate: i64,
    /// Webhooks that were refused with a 4xx, conflicts among them.
    refused: i64,
}

impl From<Percentiles> for PercentilesOut {
    fn from(Percentiles { p50, p95, p99 }: Percentiles) -> Self {
        Self { p50, p95, p99 }
    }
}

impl From<JobsPoint> for JobsOut {
    fn from(point: JobsPoint) -> Self {
        Self {
            at: point.at,
            completed: point.completed,
            retried: point.retried,
            discarded: point.discarded,
            wait: point.wait.into(),
            run: point.run.into(),
        }
    }
}

impl From<DepthPoint> for DepthOut {
    fn from(DepthPoint { at, waiting, oldest_secs }: DepthPoint) -> Self {
        Self { at, waiting, oldest_secs }
    }
}

impl From<IntakePoint> for IntakeOut {
    fn from(IntakePoint { at, accepted, duplicate, refused }: IntakePoint) -> Self {
        Self { at, accepted, duplicate, refused }
    }
}

#[derive(ApiResponse)]
enum Given {
    /// The activity.
    #[oai(status = 200)]
    Ok(
        Json<ActivityOut>,
        /// The greatest age of what is shown, in seconds; absent when it is up to the moment.
        #[oai(header = "Data-Age")]
        Option<f64>,
    ),
}

/// The refusals of `get_activity`.
#[derive(Debug)]
struct GetActivity;

impl Refusals for GetActivity {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::Forbidden, Code::InvalidParameter]];
}

impl From<ActivityError> for Problem {
    fn from(error: ActivityError) -> Self {
        match error {
            ActivityError::Database(error) => error.into(),
            ActivityError::Queue(error) => error.into(),
        }
    }
}
