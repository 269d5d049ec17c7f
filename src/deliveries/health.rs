//! The health of endpoints: a breaker for each, shared by all workers.
//!
//! ```text
//!   closed ── 5 failures in a row ──▶ open, for the schedule's first wait, then longer
//!      ▲                                │ over
//!      └──── success ◀── one probe ◀────┘
//!                          └── failure ──▶ open
//! ```
//!
//! An endpoint that fails for [`DISABLED_AFTER`] is disabled. A success closes the breaker; those
//! of a healthy endpoint write nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::ids::EndpointId;

/// After so many failures in a row an endpoint is left alone.
pub const OPENS_AFTER: i32 = 5;
/// The longest rest; each further failure doubles it.
const LONGEST_REST: Duration = Duration::from_secs(15 * 60);
/// An endpoint that has failed for so long without a success is disabled.
pub const DISABLED_AFTER: Duration = Duration::from_secs(5 * 24 * 3600);

/// The longest wait for a place under an endpoint's rate, for a delivery that is in hand.
pub const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The attempts on an endpoint that were recorded together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// The number of failures.
    pub failures: i32,
    /// There was a success among them.
    pub succeeded: bool,
}

/// Notes how attempts went, by their endpoints. The first rest of one that fails is `first_rest`.
/// Gives the endpoints that have failed for [`DISABLED_AFTER`].
///
/// # Errors
///
/// When the database refuses.
pub async fn note(
    conn: &mut PgConnection,
    tallies: &BTreeMap<EndpointId, Tally>,
    first_rest: Duration,
) -> sqlx::Result<Vec<EndpointId>> {
    let endpoints: Vec<Uuid> = tallies.keys().map(|id| id.0).collect();
    let failures: Vec<i32> = tallies.values().map(|tally| tally.failures).collect();
    let successes: Vec<bool> = tallies.values().map(|tally| tally.succeeded).collect();
    // One that succeeded is taken for well, whatever failed beside it. Rows are locked in the order
    // of the ids, as everywhere.
    let failing = sqlx::query_scalar!(
        r#"
        with noted as materialized (
          select health.endpoint_id, tally.failures, tally.succeeded
          from unnest($1::uuid[], $2::int[], $3::boolean[])
            as tally (endpoint_id, failures, succeeded)
          join deliveries.health using (endpoint_id)
          where tally.failures > 0 and not tally.succeeded
            or tally.succeeded and health.failures > 0
          order by health.endpoint_id
          for no key update of health
        )
        update deliveries.health
        set
          failures = case when noted.succeeded then 0 else health.failures + noted.failures end,
          failing_since = case
            when not noted.succeeded then coalesce(health.failing_since, clock_timestamp())
          end,
          open_until = case
            when not noted.succeeded and health.failures + noted.failures >= $4
            then clock_timestamp() + make_interval(
              secs => least(
                $5 * 2 ^ least(health.failures + noted.failures - $4, 10), $6
              ) * (0.9 + random() * 0.2)
            )
          end
        from noted
        where health.endpoint_id = noted.endpoint_id
        returning case
          when health.failing_since < clock_timestamp() - make_interval(secs => $7)
          then health.endpoint_id
        end as "endpoint: EndpointId"
        "#,
        &endpoints,
        &failures,
        &successes,
        OPENS_AFTER,
        first_rest.as_secs_f64(),
        LONGEST_REST.as_secs_f64(),
        DISABLED_AFTER.as_secs_f64(),
    )
    .fetch_all(conn)
    .await?;
    Ok(failing.into_iter().flatten().collect())
}

/// Takes the one probe of an endpoint whose rest is over. Until the probe has had its time, nobody
/// else gets one. False when somebody else has it.
///
/// # Errors
///
/// When the database refuses.
pub async fn take_probe(
    conn: &mut PgConnection,
    id: EndpointId,
    timeout: Duration,
) -> sqlx::Result<bool> {
    let taken = sqlx::query!(
        "
        update deliveries.health
        set open_until = clock_timestamp() + make_interval(secs => $2)
        where endpoint_id = $1 and failures >= $3 and open_until <= clock_timestamp()
        ",
        id.0,
        (timeout + Duration::from_secs(5)).as_secs_f64(),
        OPENS_AFTER,
    )
    .execute(conn)
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// Takes the next place of an endpoint that wants at most so many deliveries in a second, and tells
/// how long it is until then; none when it is longer than [`LONGEST_WAIT`], and no place is taken.
///
/// # Errors
///
/// When the database refuses.
pub async fn take_slot(
    conn: &mut PgConnection,
    id: EndpointId,
    rate: i32,
) -> sqlx::Result<Option<Duration>> {
    let taken = sqlx::query_scalar!(
        r#"
        update deliveries.health
        set next_slot =
          greatest(next_slot, clock_timestamp()) + make_interval(secs => 1 / $2::float8)
        where endpoint_id = $1
          and (next_slot < clock_timestamp() + make_interval(secs => $3)) is not false
        returning extract(epoch from next_slot - clock_timestamp())::float8 - 1 / $2::float8
          as "wait!"
        "#,
        id.0,
        f64::from(rate.max(1)),
        LONGEST_WAIT.as_secs_f64(),
    );
    let wait = taken.fetch_optional(conn).await?;
    Ok(wait.map(|wait| Duration::try_from_secs_f64(wait).unwrap_or_default()))
}
