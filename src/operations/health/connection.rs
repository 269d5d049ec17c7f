//! The way to the server: what stands in between, how many connections are left, whether the clocks
//! agree.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use crate::queue::health::{Finding, Level, look};

const POOLER: &str = "pooler";
const SESSION_SETTINGS: &str = "session-settings";
const NOTIFICATIONS: &str = "notifications";
const HEADROOM: &str = "connection-headroom";
const CLOCK: &str = "clock";
const ROUND_TRIP: &str = "round-trip";

/// The longest a notification may take; on a good connection it takes milliseconds.
const NOTIFICATION_PATIENCE: Duration = Duration::from_secs(1);

/// The share of connections in use from which on it is a warning or a failure.
const USED_WARN: f64 = 0.8;
const USED_FAIL: f64 = 0.95;

/// The difference between the clocks of this machine and of the server from which on it is a
/// warning or a failure.
const SKEW_WARN_SECS: f64 = 1.0;
const SKEW_FAIL_SECS: f64 = 5.0;

/// Every job and every request makes a handful of round trips.
const ROUND_TRIP_WARN: Duration = Duration::from_millis(20);
/// Round trips that are timed: the quickest one compares the clocks most exactly.
const ROUND_TRIPS: usize = 5;

/// `direct` is the way past a pooler, if it was given.
pub(super) async fn examine(
    pool: &PgPool,
    direct: Option<PgConnectOptions>,
) -> Result<Vec<Finding>, sqlx::Error> {
    let is_shared = shares_sessions(pool).await?;
    let direct =
        direct.map(|options| PgPoolOptions::new().max_connections(3).connect_lazy_with(options));
    let mut findings = vec![pooler(is_shared, direct.as_ref()).await];
    let mut conn = pool.acquire().await?;
    findings.extend(
        look(&mut conn, SESSION_SETTINGS, async |conn| session_settings(pool, conn).await).await?,
    );
    findings.extend(look(&mut conn, HEADROOM, headroom).await?);
    findings.extend(clock(&mut conn).await?);
    drop(conn);
    findings.push(notifications(pool, direct.as_ref().unwrap_or(pool)).await);
    Ok(findings)
}

/// True if two connections of ours can be one session of the server, as behind a pooler that gives
/// sessions away after each transaction.
async fn shares_sessions(pool: &PgPool) -> Result<bool, sqlx::Error> {
    const PID: &str = "select pg_backend_pid()";
    let mut first = pool.acquire().await?;
    let before: i32 = sqlx::query_scalar(PID).persistent(false).fetch_one(&mut *first).await?;
    // The first connection is idle now. If its session is free to be had, the second one, which
    // keeps what it gets for the length of a transaction, takes it or leaves the first another.
    let mut tx = pool.begin().await?;
    let taken: i32 = sqlx::query_scalar(PID).persistent(false).fetch_one(&mut *tx).await?;
    let after: i32 = sqlx::query_scalar(PID).persistent(false).fetch_one(&mut *first).await?;
    tx.rollback().await?;
    Ok(taken == before || after != before)
}

async fn pooler(is_shared: bool, direct: Option<&PgPool>) -> Finding {
    const FIX: &str =
        "set APP_DATABASE_DIRECT_URL to the server itself, for what needs a session of its own";
    match (is_shared, direct) {
        (false, None) => {
            Finding::ok(POOLER, "none that shares sessions: each connection has its own")
        }
        (true, None) => Finding::new(
            POOLER,
            Level::Warn,
            "connections share sessions, as behind PgBouncer in transaction mode: workers cannot \
             be woken and poll instead",
            FIX,
        ),
        (_, Some(direct)) => match shares_sessions(direct).await {
            Ok(false) if is_shared => Finding::ok(
                POOLER,
                "connections share sessions; APP_DATABASE_DIRECT_URL leads to the server itself",
            ),
            Ok(false) => Finding::ok(POOLER, "none that shares sessions, by either URL"),
            Ok(true) => Finding::new(
                POOLER,
                Level::Fail,
                "connections of APP_DATABASE_DIRECT_URL share sessions, too: it leads to a pooler",
                FIX,
            ),
            // A pooler may refuse the settings that we ask for.
            Err(error) => Finding::new(
                POOLER,
                Level::Fail,
                format!("APP_DATABASE_DIRECT_URL is of no use: {error}"),
                FIX,
            ),
        },
    }
}

/// Compares the settings of the session with those asked for at connect.
async fn session_settings(
    pool: &PgPool,
    conn: &mut PgConnection,
) -> Result<Vec<Finding>, sqlx::Error> {
    let options = pool.connect_options().get_options().unwrap_or_default().to_owned();
    // Of several values for one setting the last one holds.
    let asked: BTreeMap<&str, &str> = options
        .split("-c ")
        .filter_map(|option| option.trim().split_once('='))
        // The look itself has a time limit of its own; names with a dot are no settings of the
        // server.
        .filter(|(name, _)| *name != "statement_timeout" && !name.contains('.'))
        .collect();
    let mut lost = Vec::new();
    for (name, value) in &asked {
        let actual = sqlx::query_scalar!("select current_setting($1, true)", name)
            .fetch_one(&mut *conn)
            .await?
            .unwrap_or_default();
        if actual != *value {
            lost.push(format!("{name} is {actual} and not {value}"));
        }
    }
    if lost.is_empty() {
        let found = format!("all {} that are asked for are in force", asked.len());
        return Ok(vec![Finding::ok(SESSION_SETTINGS, found)]);
    }
    Ok(vec![Finding::new(
        SESSION_SETTINGS,
        Level::Warn,
        format!("not all have reached the session: {}", lost.join(", ")),
        "a pooler drops them: set them for the role, as in 'alter role … set statement_timeout'",
    )])
}

/// Sends a NOTIFY to ourselves, as one wakes an idle worker at once.
async fn notifications(pool: &PgPool, listening: &PgPool) -> Finding {
    match hear_ourselves(pool, listening).await {
        Ok(Some(took)) => {
            Finding::ok(NOTIFICATIONS, format!("one arrived after {} ms", took.as_millis()))
        }
        Ok(None) => Finding::new(
            NOTIFICATIONS,
            Level::Warn,
            "none arrives: idle workers start jobs up to a poll interval late",
            "set APP_DATABASE_DIRECT_URL to the server itself, or pool by session",
        ),
        Err(error) => Finding::new(
            NOTIFICATIONS,
            Level::Warn,
            format!("cannot listen: {error}"),
            "set APP_DATABASE_DIRECT_URL to the server itself, or pool by session",
        ),
    }
}

async fn hear_ourselves(
    pool: &PgPool,
    listening: &PgPool,
) -> Result<Option<Duration>, sqlx::Error> {
    let channel = format!("surety_doctor_{}", uuid::Uuid::new_v4().simple());
    let mut listener = PgListener::connect_with(listening).await?;
    listener.listen(&channel).await?;
    let began = Instant::now();
    sqlx::query!("select pg_notify($1, '')", channel).execute(pool).await?;
    match tokio::time::timeout(NOTIFICATION_PATIENCE, listener.try_recv()).await {
        Ok(Ok(Some(_notification))) => Ok(Some(began.elapsed())),
        Ok(Ok(None)) | Err(_) => Ok(None),
        Ok(Err(error)) => Err(error),
    }
}

async fn headroom(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    // The number of sessions is told to everybody, unlike what they do. Not all reserves exist in
    // every version.
    let limits = sqlx::query!(
        r#"
        select
          (select count(*) from pg_stat_activity where usesysid is not null) as "used!",
          current_setting('max_connections')::int8
            - current_setting('superuser_reserved_connections')::int8
            - coalesce(current_setting('reserved_connections', true), '0')::int8 as "server!",
          (select sum(numbackends) from pg_stat_database where datname = current_database())::int8
            as "used_in_database!",
          datconnlimit::int8 as "database!",
          (select count(*) from pg_stat_activity where usename = current_user) as "used_by_role!",
          rolconnlimit::int8 as "role!"
        from pg_database
        join pg_roles on rolname = current_user
        where datname = current_database()
        "#
    )
    .fetch_one(conn)
    .await?;
    let all = [
        ("the server", limits.used, limits.server, "raise max_connections"),
        (
            "the database",
            limits.used_in_database,
            limits.database,
            "alter database … connection limit",
        ),
        ("this role", limits.used_by_role, limits.role, "alter role … connection limit"),
    ];
    // -1: no limit.
    let limited = all.into_iter().filter(|(_, _, limit, _)| *limit >= 0);
    Ok(limited
        .map(|(of_what, used, limit, raise)| {
            let found = format!("{used} of {limit} connections of {of_what} are in use");
            let level = match used as f64 / (limit as f64).max(1.0) {
                USED_FAIL.. => Level::Fail,
                USED_WARN.. => Level::Warn,
                _ => return Finding::ok(HEADROOM, found),
            };
            let fix = format!("{raise}, make the pools smaller, or put PgBouncer in between");
            Finding::new(HEADROOM, level, found, fix)
        })
        .collect())
}

/// Compares the clocks, by the quickest of some round trips: the server's time lies within it.
async fn clock(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let mut quickest = Duration::MAX;
    let mut skew_secs = 0.0;
    for _ in 0..ROUND_TRIPS {
        let (sent_at, sent) = (OffsetDateTime::now_utc(), Instant::now());
        let server = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#)
            .fetch_one(&mut *conn)
            .await?;
        let took = sent.elapsed();
        if took < quickest {
            quickest = took;
            skew_secs = (server - (sent_at + took / 2)).as_seconds_f64();
        }
    }
    Ok(vec![judge_skew(skew_secs), judge_round_trip(quickest)])
}

fn judge_skew(skew_secs: f64) -> Finding {
    let direction = if skew_secs < 0.0 { "behind" } else { "ahead of" };
    let found =
        format!("the server's clock is {:.3} s {direction} this machine's", skew_secs.abs());
    let level = match skew_secs.abs() {
        SKEW_FAIL_SECS.. => Level::Fail,
        SKEW_WARN_SECS.. => Level::Warn,
        _ => return Finding::ok(CLOCK, found),
    };
    let fix = "let both machines keep their clocks by NTP: 'timedatectl set-ntp true'. Jobs and \
               leases go by the server's clock alone, but signatures and tokens by this machine's";
    Finding::new(CLOCK, level, found, fix)
}

fn judge_round_trip(took: Duration) -> Finding {
    let found = format!("{:.1} ms to the server and back", took.as_secs_f64() * 1000.0);
    if took < ROUND_TRIP_WARN {
        return Finding::ok(ROUND_TRIP, found);
    }
    Finding::new(ROUND_TRIP, Level::Warn, found, "run the application closer to its database")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_by_five_seconds_is_a_failure_in_either_direction() {
        let levels = [-0.9, 1.0, -4.9, 5.0, -5.0].map(|skew| judge_skew(skew).level);
        assert_eq!(levels, [Level::Ok, Level::Warn, Level::Warn, Level::Fail, Level::Fail]);
    }
}
