//! Intake: how many transactions come in, and since when none does.

use serde::Serialize;
use sqlx::PgConnection;
use time::OffsetDateTime;

/// Transactions that are looked at, the newest ones: reading them takes a few milliseconds.
const EXAMINED: i64 = 5_000;

/// The transactions of the last minute, and the pace of those before.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Intake {
    /// Transactions accepted in a minute: in the last one, or at the pace of the newest 5,000 if
    /// those took less.
    pub accepted_per_minute: f64,
    /// The moment at which the last one was accepted; null before the first.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_at: Option<OffsetDateTime>,
    /// Seconds since then.
    pub silent_secs: Option<f64>,
    /// The mean of the seconds between one and the next, and the longest, of the newest 5,000; null
    /// before the second.
    pub mean_gap_secs: Option<f64>,
    /// The longest of these.
    pub longest_gap_secs: Option<f64>,
}

/// Reads the pace of the newest transactions.
///
/// # Errors
///
/// When the database refuses.
pub async fn intake(conn: &mut PgConnection) -> Result<Intake, sqlx::Error> {
    sqlx::query_as!(
        Intake,
        r#"
        with newest as materialized (
          select id, created_at from payments.transactions order by id desc limit $1
        ),
        spaced as (
          select created_at, created_at - lead(created_at) over (order by id desc) as gap
          from newest
        ),
        told as (
          select
            count(*) filter (where created_at > now() - interval '1 minute') as within_a_minute,
            max(created_at) as last_at,
            extract(epoch from now() - max(created_at))::float8 as silent_secs,
            extract(epoch from now() - min(created_at))::float8 as over_secs,
            extract(epoch from avg(gap))::float8 as mean_gap_secs,
            extract(epoch from max(gap))::float8 as longest_gap_secs
          from spaced
        )
        select
          case
            when within_a_minute < $1 then within_a_minute::float8
            else within_a_minute * 60 / greatest(over_secs, 0.001)
          end as "accepted_per_minute!",
          last_at, silent_secs, mean_gap_secs, longest_gap_secs
        from told
        "#,
        EXAMINED,
    )
    .fetch_one(conn)
    .await
}
