//! Records of verifications: what each found, and the last one.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;

use super::{Report, VerifyError};
use crate::queue::JsonText;

/// The records that are kept.
const KEPT: i64 = 1_000;

/// A verification takes less than this, or is given up: one that is under way for longer belongs to
/// a process that has died.
pub(super) const ABANDONED_AFTER: Duration = Duration::from_secs(900);

/// The last verification that could check everything.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LastVerify {
    /// The moment as of which all was checked.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// True if every guarantee held.
    pub ok: bool,
    /// The rows that broke a guarantee.
    pub violations: i64,
    /// The guarantees that were broken.
    pub broken: Vec<Broken>,
    /// The time that it took.
    #[serde(rename = "took_secs", serialize_with = "as_secs")]
    pub took: Duration,
}

/// A guarantee that was broken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Broken {
    /// The name of the invariant.
    #[serde(rename(deserialize = "name"))]
    pub invariant: String,
    /// The rows that broke it.
    #[serde(rename(deserialize = "violations"))]
    pub rows: i64,
}

fn as_secs<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(took.as_secs_f64())
}

/// The last verification that could check everything; none if there was none yet.
///
/// # Errors
///
/// When the database refuses.
pub async fn last(conn: &mut PgConnection) -> Result<Option<LastVerify>, sqlx::Error> {
    let last = sqlx::query!(
        r#"
        select
          started_at, holds as "holds!", violations as "violations!",
          extract(epoch from ended_at - started_at)::float8 as "took_secs!",
          jsonb_path_query_array(report, '$.invariants[*] ? (@.status == "fail")')
            as "broken!: Json<Vec<Broken>>"
        from audit.verifications
        where report is not null
        order by id desc
        limit 1
        "#
    )
    .fetch_optional(conn)
    .await?;
    Ok(last.map(|last| LastVerify {
        at: last.started_at,
        ok: last.holds,
        violations: last.violations,
        broken: last.broken.0,
        took: Duration::try_from_secs_f64(last.took_secs).unwrap_or_default(),
    }))
}

/// The moment as of which every guarantee was last found to hold; none if there is none. One that
/// is still to come was found while the clock was wrong, and proves nothing of what was written
/// since.
///
/// # Errors
///
/// When the database refuses.
pub(super) async fn last_that_held(
    conn: &mut PgConnection,
) -> Result<Option<OffsetDateTime>, sqlx::Error> {
    sqlx::query_scalar!(
        "
        select started_at
        from audit.verifications
        where holds and started_at <= clock_timestamp()
        order by id desc
        limit 1
        "
    )
    .fetch_optional(conn)
    .await
}

/// A verification, done or under way.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct VerificationView {
    /// Its number.
    pub id: i64,
    /// Its state.
    pub state: VerificationState,
    /// Whoever asked for it.
    pub requested_by: String,
    /// The moment as of which all is checked.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// The moment of its end; null while it is under way.
    #[serde(with = "time::serde::rfc3339::option")]
    pub ended_at: Option<OffsetDateTime>,
    /// The rows that broke a guarantee; null unless all could be checked.
    pub violations: Option<i64>,
    /// The finding of each check; null unless all could be checked, and in lists.
    pub report: Option<JsonText>,
    /// The reason that not all could be checked.
    pub error: Option<String>,
}

/// The state of a verification.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum VerificationState {
    /// It is under way.
    Running,
    /// Every guarantee held.
    Passed,
    /// A guarantee was broken.
    Failed,
    /// Not all could be checked, or the process that checked has died.
    Unfinished,
}

/// The verifications before the one of this number, or from the newest on; newest first, at most
/// `limit`, without their reports.
///
/// # Errors
///
/// When the database refuses.
pub async fn list(
    conn: &mut PgConnection,
    before: Option<i64>,
    limit: u16,
) -> Result<Vec<VerificationView>, sqlx::Error> {
    sqlx::query_as!(
        VerificationView,
        r#"
        select
          id, requested_by, started_at, ended_at, violations, null::jsonb as "report: JsonText",
          error,
          case
            when holds then 'passed'
            when not holds then 'failed'
            when ended_at is not null or started_at < clock_timestamp() - make_interval(secs => $3)
              then 'unfinished'
            else 'running'
          end as "state!: VerificationState"
        from audit.verifications
        where id < coalesce($1, 9223372036854775807)
        order by id desc
        limit $2
        "#,
        before,
        i64::from(limit),
        ABANDONED_AFTER.as_secs_f64(),
    )
    .fetch_all(conn)
    .await
}

/// The verification of this number with its report; none if there is none, or it is no longer kept.
///
/// # Errors
///
/// When the database refuses.
pub async fn find(
    conn: &mut PgConnection,
    id: i64,
) -> Result<Option<VerificationView>, sqlx::Error> {
    let Some(next) = id.checked_add(1) else { return Ok(None) };
    let listed = list(&mut *conn, Some(next), 1).await?.pop().filter(|found| found.id == id);
    let Some(mut found) = listed else { return Ok(None) };
    found.report = sqlx::query_scalar!(
        r#"select report as "report: JsonText" from audit.verifications where id = $1"#,
        id,
    )
    .fetch_optional(conn)
    .await?
    .flatten();
    Ok(Some(found))
}

/// Records that a verification begins, and gives its number; none when another is under way.
pub(super) async fn begin(conn: &mut PgConnection, by: &str) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query!(
        "
        update audit.verifications
        set ended_at = clock_timestamp(), error = 'the process that checked has ended'
        where ended_at is null and started_at < clock_timestamp() - make_interval(secs => $1)
        ",
        ABANDONED_AFTER.as_secs_f64(),
    )
    .execute(&mut *conn)
    .await?;
    let id = sqlx::query_scalar!(
        "
        insert into audit.verifications (requested_by) values ($1)
        on conflict do nothing
        returning id
        ",
        by,
    )
    .fetch_optional(&mut *conn)
    .await?;
    sqlx::query!(
        "
        delete from audit.verifications
        where id < (select id from audit.verifications order by id desc offset $1 limit 1)
        ",
        KEPT,
    )
    .execute(conn)
    .await?;
    Ok(id)
}

/// Records the end of a verification that was recorded as begun.
pub(super) async fn end(
    conn: &mut PgConnection,
    id: i64,
    result: &Result<Report, VerifyError>,
) -> Result<(), sqlx::Error> {
    let (report, error) = stored(result);
    let found = result.as_ref().ok();
    sqlx::query!(
        "
        update audit.verifications
        set ended_at = clock_timestamp(), holds = $2, violations = $3, report = $4, error = $5
        where id = $1 and ended_at is null
        ",
        id,
        found.map(Report::holds),
        found.map(Report::violations),
        report as _,
        error,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Records a verification that was made just now.
pub(super) async fn record(
    conn: &mut PgConnection,
    by: &str,
    report: &Report,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        insert into audit.verifications
          (requested_by, started_at, ended_at, holds, violations, report)
        values ($1, $2::timestamptz, $2::timestamptz + make_interval(secs => $3), $4, $5, $6)
        ",
        by,
        report.checked_at,
        report.took.as_secs_f64(),
        report.holds(),
        report.violations(),
        JsonText::of(report).ok() as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The report of a result, or else the reason that there is none.
fn stored(result: &Result<Report, VerifyError>) -> (Option<JsonText>, Option<String>) {
    match result {
        Ok(report) => (JsonText::of(report).ok(), None),
        Err(error) => (None, Some(error.in_one_line())),
    }
}
