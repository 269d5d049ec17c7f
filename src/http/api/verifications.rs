//! Verifications: checking that nothing was lost and no money made, and what was found.

use poem::http::Uri;
use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde::Serialize;
use sqlx::PgPool;
use time::OffsetDateTime;

use super::ApiTags;
use crate::http::edge::caller::{self, Caller, Right};
use crate::http::edge::database::within_seconds;
use crate::http::wire::any_json::AnyJson;
use crate::http::wire::id::Id;
use crate::http::wire::lists::{
    self, DEFAULT_LIMIT, cursor_after, read_cursor, refuse_unknown_parameters,
};
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, Problem};
use crate::http::wire::refused::{Refusals, Refused};
use crate::operations::verify::{self, Started, VerificationState, VerificationView, VerifyError};

/// The API of verifications.
#[derive(Clone)]
pub struct VerificationsApi {
    /// The database to verify.
    pub pool: PgPool,
}

#[OpenApi]
impl VerificationsApi {
    /// Start a verification
    ///
    /// Every guarantee is checked against the whole database, in the background: ask for the
    /// verification until it is no longer `running`. One runs at a time; if one does, you get that.
    /// It changes nothing and makes nobody wait. For operators and admins.
    #[oai(
        path = "/v1/verifications",
        method = "post",
        operation_id = "start_verification",
        tag = "ApiTags::Verifications"
    )]
    async fn start_verification(
        &self,
        caller: Caller,
    ) -> Result<StartedOrNot, Refused<StartVerification>> {
        caller.require(Right::Operate)?;
        let started = verify::start(&self.pool, &caller.into()).await.map_err(Problem::from)?;
        let (view, is_new) = match started {
            Started::New(view) => (view, true),
            Started::UnderWay(view) => (view, false),
        };
        let location = format!("/v1/verifications/{}", view.id);
        let body = Json(view.into());
        Ok(match is_new {
            true => StartedOrNot::Accepted(body, location),
            false => StartedOrNot::UnderWay(body, location),
        })
    }

    /// List verifications
    ///
    /// Newest first, those by the command line included, without their reports; the last thousand
    /// are kept. For viewers and above.
    #[oai(
        path = "/v1/verifications",
        method = "get",
        operation_id = "list_verifications",
        tag = "ApiTags::Verifications"
    )]
    async fn list_verifications(
        &self,
        caller: Caller,
        uri: &Uri,
        /// The most items on a page; 50 when absent.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Listed, Refused<ListVerifications>> {
        caller.require(Right::Read)?;
        refuse_unknown_parameters(uri, &["limit", "cursor"])?;
        let before = cursor.0.map(|text| read_cursor::<8>(&text, LIST)).transpose()?;
        let before = before.map(i64::from_be_bytes);
        let limit = limit.0.unwrap_or(DEFAULT_LIMIT);
        let found = within_seconds(&self.pool, async |conn| {
            Ok(verify::records::list(conn, before, limit + 1).await?)
        });
        let (found, last) = lists::page(found.await?, limit);
        Ok(Listed::Ok(Json(VerificationPage {
            verifications: found.into_iter().map(Into::into).collect(),
            next_cursor: last.map(|last| cursor_after(last.id.to_be_bytes(), LIST)),
        })))
    }

    /// Get a verification
    ///
    /// With the finding of each check once it has ended; for viewers and above.
    #[oai(
        path = "/v1/verifications/:verification_id",
        method = "get",
        operation_id = "get_verification",
        tag = "ApiTags::Verifications"
    )]
    async fn get_verification(
        &self,
        caller: Caller,
        /// The number of the verification.
        verification_id: Path<Id<i64>>,
    ) -> Result<Found, Refused<GetVerification>> {
        caller.require(Right::Read)?;
        let found = within_seconds(&self.pool, async |conn| {
            Ok(verify::records::find(conn, verification_id.0.0).await?)
        });
        let found = found.await?.ok_or_else(|| Problem::new(Code::VerificationNotFound))?;
        Ok(Found::Ok(Json(found.into())))
    }
}

/// The list that a cursor of verifications is bound to.
const LIST: &str = "list_verifications 1";

impl From<VerifyError> for Problem {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Database(error) | VerifyError::Check { source: error, .. } => error.into(),
            VerifyError::Late(_) => Self::new(Code::Unavailable).cause(error),
        }
    }
}

/// The state of a verification.
#[derive(Clone, Copy, Debug, Serialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename = "VerificationState", rename_all = "snake_case")]
enum VerificationStateName {
    /// It is under way.
    Running,
    /// Every guarantee held.
    Passed,
    /// A guarantee was broken.
    Failed,
    /// Not all could be checked.
    Unfinished,
}

/// A verification, done or under way.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Verification")]
struct VerificationOut {
    /// The number of the verification.
    id: i64,
    /// The state of the verification.
    state: VerificationStateName,
    /// The one who asked for it.
    requested_by: String,
    /// The moment at which it began.
    #[serde(with = "time::serde::rfc3339")]
    started_at: OffsetDateTime,
    /// The moment at which it ended; null while it is under way.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    ended_at: Option<OffsetDateTime>,
    /// The number of rows that break a guarantee; null unless all could be checked.
    #[oai(nullable)]
    violations: Option<i64>,
    /// The finding of each check, as `app verify --json` prints it; null in lists, and unless all
    /// could be checked.
    report: AnyJson,
    /// The reason that not all could be checked; null if all could.
    #[oai(nullable)]
    error: Option<String>,
}

impl From<VerificationView> for VerificationOut {
    fn from(view: VerificationView) -> Self {
        Self {
            id: view.id,
            state: match view.state {
                VerificationState::Running => VerificationStateName::Running,
                VerificationState::Passed => VerificationStateName::Passed,
                VerificationState::Failed => VerificationStateName::Failed,
                VerificationState::Unfinished => VerificationStateName::Unfinished,
            },
            requested_by: view.requested_by,
            started_at: view.started_at,
            ended_at: view.ended_at,
            violations: view.violations,
            report: AnyJson(view.report.unwrap_or_else(|| serde_json::Value::Null.into())),
            error: view.error,
        }
    }
}

/// A page of verifications, newest first.
#[derive(Debug, Serialize, Object)]
struct VerificationPage {
    /// The verifications of this page.
    verifications: Vec<VerificationOut>,
    /// The `cursor` of the next page; null on the last page.
    #[oai(nullable)]
    next_cursor: Option<String>,
}

#[derive(ApiResponse)]
enum StartedOrNot {
    /// The verification has begun.
    #[oai(status = 202)]
    Accepted(
        Json<VerificationOut>,
        /// The path at which to read it.
        #[oai(header = "Location")]
        String,
    ),
    /// Another verification is under way.
    #[oai(status = 200)]
    UnderWay(
        Json<VerificationOut>,
        /// The path at which to read it.
        #[oai(header = "Location")]
        String,
    ),
}

#[derive(ApiResponse)]
enum Listed {
    /// The page.
    #[oai(status = 200)]
    Ok(Json<VerificationPage>),
}

#[derive(ApiResponse)]
enum Found {
    /// The verification as it stands.
    #[oai(status = 200)]
    Ok(Json<VerificationOut>),
}

/// The refusals of `start_verification`.
#[derive(Debug)]
struct StartVerification;

impl Refusals for StartVerification {
    const CODES: &'static [&'static [Code]] = &[caller::REFUSALS, &[Code::Forbidden]];
}

/// The refusals of `list_verifications`.
#[derive(Debug)]
struct ListVerifications;

impl Refusals for ListVerifications {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::InvalidCursor, Code::Forbidden]];
}

/// The refusals of `get_verification`.
#[derive(Debug)]
struct GetVerification;

impl Refusals for GetVerification {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::Forbidden, Code::VerificationNotFound]];
}
