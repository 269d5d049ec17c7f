//! The shared buckets, from which nodes take tokens in pieces, by one statement each.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use uuid::Uuid;

use super::bucket::{Lease, LeasePlan};
use super::settings::Quota;

/// Leases under way at the same time. One takes less than a millisecond, and only those that wait
/// for a lock or a slow network need a second connection.
const MAX_CONNECTIONS: usize = 4;
/// After this long a lease is given up.
const LEASE_WITHIN: Duration = Duration::from_secs(1);
/// Less than the above, so that a connection that waits for a lock is not lost.
const LOCK_TIMEOUT: &str = "700ms";
/// Rows that one statement deletes, so that none runs long.
const PRUNE_BATCH: i64 = 1000;

/// The reason that there is no lease.
#[derive(Debug, thiserror::Error)]
pub(super) enum LeaseError {
    #[error("the database does not answer")]
    TimedOut,
    #[error("the database refused")]
    Database(#[from] sqlx::Error),
}

/// The shared buckets. It has connections of its own, so that neither slow reads of the API nor a
/// pool that is being emptied can keep a request from being admitted.
pub(super) struct Leases {
    database: PgConnectOptions,
    places: Semaphore,
    idle: Mutex<Vec<PgConnection>>,
}

impl Leases {
    /// Connects when first needed.
    pub(super) fn new(database: &PgConnectOptions) -> Self {
        Self {
            database: database.clone().options([("lock_timeout", LOCK_TIMEOUT)]),
            places: Semaphore::new(MAX_CONNECTIONS),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Takes as many of the wanted tokens as there are.
    pub(super) async fn take(
        &self,
        bucket: Uuid,
        quota: Quota,
        plan: LeasePlan,
    ) -> Result<Lease, LeaseError> {
        let within = timeout(LEASE_WITHIN, async {
            let _place = self.places.acquire().await;
            // A connection that was idle may have died meanwhile.
            while let Some(mut conn) = self.pop_idle() {
                let outcome = take(&mut conn, bucket, quota, plan).await;
                if !is_about_the_connection(&outcome) {
                    self.push_idle(conn);
                    return outcome;
                }
            }
            let mut conn = PgConnection::connect_with(&self.database).await?;
            let outcome = take(&mut conn, bucket, quota, plan).await;
            if !is_about_the_connection(&outcome) {
                self.push_idle(conn);
            }
            outcome
        });
        let Ok(outcome) = within.await else {
            // The others are no better, most likely, and each would cost a request its second.
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
            return Err(LeaseError::TimedOut);
        };
        Ok(outcome?)
    }

    /// Deletes the rows of buckets that are full, and says how many.
    pub(super) async fn prune(&self) -> Result<u64, LeaseError> {
        let mut conn = timeout(LEASE_WITHIN, PgConnection::connect_with(&self.database))
            .await
            .map_err(|_| LeaseError::TimedOut)??;
        let mut pruned = 0;
        loop {
            let batch = sqlx::query!(
                // By their place in the table: an index on full_at would cost each lease more than
                // it spares here. The condition is repeated for rows that are taken from meanwhile.
                "delete from rate_limits.buckets
                 where ctid = any (array(
                     select ctid from rate_limits.buckets
                     where full_at < clock_timestamp()
                     limit $1
                   ))
                   and full_at < clock_timestamp()",
                PRUNE_BATCH
            )
            .execute(&mut conn)
            .await?
            .rows_affected();
            pruned += batch;
            if batch < PRUNE_BATCH.unsigned_abs() {
                break;
            }
        }
        conn.close().await?;
        Ok(pruned)
    }

    fn pop_idle(&self) -> Option<PgConnection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn push_idle(&self, conn: PgConnection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
    }
}

/// The time at which a bucket is full is moved on by one interval for each token taken, as far as
/// one window from now; tokens given back move it back first. The clock is the database's alone,
/// read once: its reading travels in the row that is proposed for insertion.
async fn take(
    conn: &mut PgConnection,
    bucket: Uuid,
    quota: Quota,
    plan: LeasePlan,
) -> Result<Lease, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        insert into rate_limits.buckets as bucket (id, full_at, leased_at, granted)
        select $1, clock.now + $2::int * $3::bigint * interval '1 microsecond', clock.now, $2::int
        from (select clock_timestamp() as now) as clock
        on conflict (id) do update set (full_at, leased_at, granted) = (
          select
            before.full_at + taken.tokens * $3::bigint * interval '1 microsecond',
            excluded.leased_at,
            taken.tokens
          from (
            -- No later than one window from now: it may have been used up under a limit that took
            -- longer to fill it.
            select least(
              greatest(
                bucket.full_at - $5::int * $3::bigint * interval '1 microsecond',
                excluded.leased_at
              ),
              excluded.leased_at + $4::int * $3::bigint * interval '1 microsecond'
            ) as full_at
          ) as before,
          lateral (
            select
              extract(epoch from before.full_at - excluded.leased_at) * 1000000 / $3::bigint
                as missing
          ) as empty,
          lateral (
            -- Below zero where another node has set a larger limit.
            select greatest(0, least($2::int, floor($4::int - empty.missing)))::int as tokens
          ) as taken
        )
        returning
          granted,
          (extract(epoch from full_at - leased_at) * 1000000)::bigint as "full_in_us!"
        "#,
        bucket,
        signed(plan.wanted),
        i64::try_from(quota.interval_us()).unwrap_or(i64::MAX),
        signed(quota.requests),
        signed(plan.given_back),
    )
    .fetch_one(conn)
    .await?;
    Ok(Lease {
        granted: u32::try_from(row.granted).unwrap_or(0),
        full_in: Duration::from_micros(u64::try_from(row.full_in_us).unwrap_or(0)),
    })
}

/// Tells errors that another connection may well avoid: this one is broken, the server ends it, or
/// it is no longer the one that is written to.
fn is_about_the_connection(outcome: &Result<Lease, sqlx::Error>) -> bool {
    let Err(error) = outcome else { return false };
    let code = error.as_database_error().map(|it| it.code().unwrap_or_default());
    code.is_none_or(|code| code.starts_with("57P") || code.starts_with("08") || code == "25006")
}

/// No quota is so large that it would be cut ([`super::settings`]).
fn signed(tokens: u32) -> i32 {
    i32::try_from(tokens).unwrap_or(i32::MAX)
}
