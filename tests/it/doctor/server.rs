//! Settings of the server, connections, clocks, and what a role may see.

use sqlx::AssertSqlSafe;

use super::{Answer, execute, patient_session};
use crate::support::TestDb;

const SETTINGS: &str = "server-settings";

#[tokio::test]
async fn settings_that_lose_commits_are_found_where_they_were_made() {
    let db = TestDb::new().await;
    let name = db.name_of_database();
    // The tests' own server may lose everything, and it is said how it was told to.
    let answer = db.doctor(&[]).await;
    assert_eq!(answer.code, Some(1));
    let [level, found, fix] = answer.about(SETTINGS, "fsync is off");
    assert_eq!(level, "fail");
    assert!(found.contains("set by: command line"), "{found}");
    assert!(fix.contains("without -c fsync"), "{fix}");
    assert!(!answer.of_check(SETTINGS).concat().join(" ").contains("synchronous_commit"));

    execute(
        &db.pool,
        format!(
            "alter database {name} set synchronous_commit = off;
             alter database {name} set default_transaction_isolation = 'serializable'"
        ),
    )
    .await;
    let answer = db.doctor(&[]).await;
    let [level, found, fix] = answer.about(SETTINGS, "synchronous_commit is off");
    assert_eq!(level, "fail");
    assert!(found.contains("loses what was answered with a 2xx"), "{found}");
    assert_eq!(fix, format!("alter database {name} reset synchronous_commit"));
    let [level, _, isolation_fix] = answer.about(SETTINGS, "default_transaction_isolation");
    assert_eq!(level, "warn");
    execute(&db.pool, fix).await;
    execute(&db.pool, isolation_fix).await;
    let found = db.doctor(&[]).await.of_check(SETTINGS).concat().join(" ");
    assert!(!found.contains("synchronous_commit") && !found.contains("isolation"), "{found}");
}

#[tokio::test]
async fn a_setting_of_a_role_that_the_application_may_use_is_found() {
    let db = TestDb::new().await;
    let role = format!("r_{}", db.name_of_database());
    execute(
        &db.pool,
        format!(
            "create role {role} login;
             alter role {role} in database {} set synchronous_commit = off",
            db.name_of_database()
        ),
    )
    .await;
    let answer = db.doctor(&[]).await;
    let [level, found, fix] = answer.about("settings-of-other-roles", &role);
    assert_eq!(level, "warn");
    assert!(found.contains("synchronous_commit = off"), "{found}");
    execute(&db.pool, fix).await;
    assert_eq!(db.doctor(&[]).await.of_check("settings-of-other-roles").len(), 0);
    execute(&db.pool, format!("drop role {role}")).await;
}

#[tokio::test]
async fn a_connection_limit_that_is_nearly_reached_is_found() {
    let db = TestDb::new().await;
    let name = db.name_of_database();
    // The doctor itself takes up to three.
    execute(&db.pool, format!("alter database {name} connection limit 20")).await;
    let few = db.doctor(&[]).await;
    assert_eq!(few.about("connection-headroom", "of the database")[0], "ok");
    let mut sessions = Vec::new();
    for _ in 0..15 {
        sessions.push(patient_session(&db.url).await);
    }
    let answer = db.doctor(&[]).await;
    let [level, found, fix] = answer.about("connection-headroom", "of the database");
    assert!(["warn", "fail"].contains(&level), "{found}");
    assert!(found.contains("of 20 connections"), "{found}");
    assert!(fix.contains("alter database"), "{fix}");
}

/// The server's clock as our statements see it: what goes by another name in the search path.
#[tokio::test]
async fn clocks_that_disagree_by_more_than_five_seconds_are_a_failure() {
    let db = TestDb::new().await;
    let name = db.name_of_database();
    assert_eq!(db.doctor(&[]).await.levels("clock"), ["ok"]);
    for (seconds, expected) in [(-2, "warn"), (8, "fail")] {
        execute(
            &db.pool,
            format!(
                "create schema if not exists wrong;
                 create or replace function wrong.clock_timestamp() returns timestamptz
                   language sql volatile
                   as 'select pg_catalog.clock_timestamp() + interval ''{seconds} seconds''';
                 alter database {name} set search_path = wrong, pg_catalog, public"
            ),
        )
        .await;
        let answer = db.doctor(&[]).await;
        let [level, found, fix] = answer.about("clock", "");
        assert_eq!(level, expected, "{found}");
        assert!(fix.contains("NTP"), "{fix}");
    }
}

#[tokio::test]
async fn on_a_direct_connection_notifications_arrive_and_no_session_is_shared() {
    let db = TestDb::new().await;
    let answer = db.doctor(&[]).await;
    for check in ["pooler", "notifications", "session-settings", "round-trip", "replication"] {
        assert_eq!(answer.levels(check), ["ok"], "{:?}", answer.of_check(check));
    }
}

#[tokio::test]
async fn an_ordinary_role_is_told_what_it_may_not_see() {
    let db = TestDb::new().await;
    let role = format!("r_{}", db.name_of_database());
    execute(
        &db.pool,
        format!(
            "create role {role} login;
             grant usage on schema queue to {role};
             grant select on queue.jobs, queue.pauses, queue.limits, queue.blocked_keys to {role}"
        ),
    )
    .await;
    let url = db.url.replace("postgres://postgres@", &format!("postgres://{role}@"));
    assert_ne!(url, db.url);
    let mut other = patient_session(&db.url).await;
    sqlx::query("select 1").execute(&mut other).await.unwrap();

    let answer = Answer::of(&url, &[]).await;
    assert_eq!(answer.report["role"], role);
    assert_eq!(answer.levels("migrations"), ["unseen"]);
    // It sees no sessions but its own, and says so.
    let [level, found, fix] = answer.about("oldest-transaction", "sessions of other roles");
    assert_eq!(level, "unseen", "{found}");
    assert_eq!(fix, format!("grant pg_read_all_stats to {role}"));
    execute(&db.pool, fix).await;
    // What it may see is looked at.
    assert_eq!(answer.levels("oldest-available-job"), ["ok"]);
    assert_eq!(answer.levels("expired-leases"), ["ok"]);
    assert_eq!(answer.levels("indexes-and-settings"), ["ok", "ok"]);
    assert_eq!(answer.about(SETTINGS, "fsync is off")[0], "fail");

    execute(&db.pool, format!("revoke select on queue.jobs from {role}")).await;
    let answer = Answer::of(&url, &[]).await;
    assert_eq!(answer.levels("oldest-transaction"), ["ok"]);
    let [level, found, _] = answer.about("oldest-available-job", "");
    assert_eq!(level, "unseen");
    assert!(found.contains("permission denied for table jobs"), "{found}");
    let drop = format!("drop owned by {role}; drop role {role}");
    sqlx::raw_sql(AssertSqlSafe(drop)).execute(&db.pool).await.unwrap();
}
