//! Transactions, prepared transactions and replication slots that keep vacuum from cleaning up.
//! A claim stays cheap meanwhile (G10), but the tables grow.

use std::time::Duration;

use sqlx::PgConnection;

use crate::queue::health::{Finding, Level, judge, look, span};

const OLDEST: &str = "oldest-transaction";
const PREPARED: &str = "prepared-transactions";
const SLOTS: &str = "replication-slots";

/// A slot or a standby has no clock, so it is judged by the transactions that it holds back.
const MANY_TRANSACTIONS: i32 = 1_000_000;

pub(super) async fn examine(
    conn: &mut PgConnection,
    limit: Duration,
) -> Result<Vec<Finding>, sqlx::Error> {
    let mut findings =
        look(conn, OLDEST, async |conn| oldest_transaction(conn, limit).await).await?;
    findings.extend(look(conn, PREPARED, async |conn| prepared(conn, limit).await).await?);
    findings.extend(look(conn, SLOTS, slots).await?);
    Ok(findings)
}

/// A session that keeps vacuum from cleaning up.
pub(in crate::operations) struct Holder {
    pid: i32,
    role: Option<String>,
    application_name: Option<String>,
    state: Option<String>,
    query: Option<String>,
    /// The transactions that vacuum is behind it.
    behind: i32,
    is_standby: bool,
    /// The age of its transaction.
    pub(in crate::operations) secs: f64,
}

/// The sessions that keep vacuum from cleaning up, the oldest first. Only sessions of this database
/// hold its horizon back, and walsenders whose standby says so. Vacuum itself does not.
///
/// # Errors
///
/// When the database refuses.
pub(in crate::operations) async fn holders(
    conn: &mut PgConnection,
) -> Result<Vec<Holder>, sqlx::Error> {
    sqlx::query_as!(
        Holder,
        r#"
        select
          pid as "pid!", usename as role, application_name, state, left(query, 100) as query,
          greatest(age(backend_xmin), age(backend_xid)) as "behind!",
          coalesce(backend_type = 'walsender', false) as "is_standby!",
          coalesce(extract(epoch from clock_timestamp() - xact_start), 0)::float8 as "secs!"
        from pg_stat_activity
        where (datname = current_database() or backend_type = 'walsender')
          and (backend_xmin is not null or backend_xid is not null)
          and backend_type <> 'autovacuum worker'
          and query !~* '^\s*vacuum'
          and pid <> pg_backend_pid()
        order by xact_start nulls last
        "#
    )
    .fetch_all(conn)
    .await
}

async fn oldest_transaction(
    conn: &mut PgConnection,
    limit: Duration,
) -> Result<Vec<Finding>, sqlx::Error> {
    let oldest = holders(&mut *conn).await?;
    let mut findings = Vec::new();
    for session in &oldest {
        let level = match session.is_standby {
            true if session.behind < MANY_TRANSACTIONS => Level::Ok,
            true => Level::Warn,
            false => judge(session.secs, limit),
        };
        if level == Level::Ok {
            continue;
        }
        let who = format!(
            "pid {} (role {}, application '{}')",
            session.pid,
            session.role.as_deref().unwrap_or("-"),
            session.application_name.as_deref().unwrap_or("-")
        );
        let (what, fix) = match session.is_standby {
            true => (
                "a standby's feedback".to_owned(),
                "look for a long query on the standby".to_owned(),
            ),
            false => (
                format!(
                    "{} for {}, last statement: {}",
                    session.state.as_deref().unwrap_or("open"),
                    span(session.secs),
                    one_line(session.query.as_deref().unwrap_or("-"))
                ),
                format!("select pg_terminate_backend({})", session.pid),
            ),
        };
        let found = format!("{who}: {what}; vacuum is {} transactions behind it", session.behind);
        findings.push(Finding::new(OLDEST, level, found, fix));
    }
    if findings.is_empty() {
        let longest = oldest.iter().map(|session| session.secs).reduce(f64::max);
        findings.push(Finding::ok(
            OLDEST,
            longest.map_or("none is open".to_owned(), |secs| format!("open for {}", span(secs))),
        ));
    }
    findings.extend(unseen_sessions(conn).await?);
    Ok(findings)
}

/// Counts sessions that this role may not look into.
async fn unseen_sessions(conn: &mut PgConnection) -> Result<Option<Finding>, sqlx::Error> {
    let unseen = sqlx::query!(
        r#"
        select count(*) as "sessions!", quote_ident(current_user) as "role!"
        from pg_stat_activity
        where query = '<insufficient privilege>'
        "#
    )
    .fetch_one(conn)
    .await?;
    Ok((unseen.sessions > 0).then(|| {
        Finding::new(
            OLDEST,
            Level::Unseen,
            format!(
                "{} sessions of other roles: any of them may hold a transaction open",
                unseen.sessions
            ),
            format!("grant pg_read_all_stats to {}", unseen.role),
        )
    }))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

async fn prepared(conn: &mut PgConnection, limit: Duration) -> Result<Vec<Finding>, sqlx::Error> {
    let prepared = sqlx::query!(
        r#"
        select
          gid as "gid!", quote_literal(gid) as "quoted!", owner::text as "owner!",
          extract(epoch from clock_timestamp() - prepared)::float8 as "secs!"
        from pg_prepared_xacts
        where database = current_database()
        order by prepared
        "#
    )
    .fetch_all(conn)
    .await?;
    let too_old: Vec<Finding> = prepared
        .iter()
        .filter(|it| judge(it.secs, limit) != Level::Ok)
        .map(|it| {
            Finding::new(
                PREPARED,
                judge(it.secs, limit),
                format!("{} of role {} has been prepared for {}", it.gid, it.owner, span(it.secs)),
                format!("rollback prepared {} (or commit prepared)", it.quoted),
            )
        })
        .collect();
    match (too_old.is_empty(), prepared.len()) {
        (false, _) => Ok(too_old),
        (true, 0) => Ok(vec![Finding::ok(PREPARED, "none")]),
        (true, some) => Ok(vec![Finding::ok(PREPARED, format!("{some}, all of them young"))]),
    }
}

async fn slots(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let slots = sqlx::query!(
        r#"
        select
          slot_name::text as "name!", quote_literal(slot_name) as "quoted!", active as "is_active!",
          coalesce(age(xmin), 0) as "behind!", coalesce(wal_status, 'reserved') as "wal_status!"
        from pg_replication_slots
        where not temporary
        order by slot_name
        "#
    )
    .fetch_all(conn)
    .await?;
    let mut findings = Vec::new();
    for slot in &slots {
        let name = &slot.name;
        let (level, found) = match (slot.is_active, slot.behind, slot.wal_status.as_str()) {
            (_, _, "lost") => {
                (Level::Warn, format!("{name} has lost the WAL that its standby needs"))
            }
            (false, 1.., _) => (
                Level::Fail,
                format!("{name} is used by nobody, and holds {} transactions back", slot.behind),
            ),
            (false, _, _) => {
                (Level::Warn, format!("{name} is used by nobody: WAL piles up on the disk for it"))
            }
            (true, MANY_TRANSACTIONS.., _) => {
                (Level::Warn, format!("{name} holds {} transactions back", slot.behind))
            }
            (true, _, "unreserved" | "extended") => {
                (Level::Warn, format!("{name} is far behind: its WAL is {}", slot.wal_status))
            }
            _ => continue,
        };
        let fix = match slot.is_active {
            true => "look at why its receiver is slow".to_owned(),
            false => {
                format!("start its receiver, or: select pg_drop_replication_slot({})", slot.quoted)
            }
        };
        findings.push(Finding::new(SLOTS, level, found, fix));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(SLOTS, format!("{}, none of them idle", slots.len())));
    }
    Ok(findings)
}
