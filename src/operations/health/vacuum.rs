//! Dead rows outside the queue, and the age of the oldest transaction number.

use sqlx::PgConnection;

use crate::queue::health::{Finding, Level, dead_rows, look};

const DEAD_ROWS: &str = "dead-rows";
const FREEZE_AGE: &str = "freeze-age";

/// The schemas of this application but for the queue's.
const SCHEMAS: [&str; 4] = ["payments", "bank", "identity", "api"];

/// Autovacuum freezes a table at `autovacuum_freeze_max_age`. A table this many times older shows
/// that it does not keep up.
const LATE_FACTOR: f64 = 1.5;
/// At 2.1 billion PostgreSQL refuses to write; it tries its utmost from 1.6 billion on.
const NEARLY_OVER: i32 = 1_200_000_000;

pub(super) async fn examine(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let mut findings = look(conn, DEAD_ROWS, async |conn| dead_rows(conn, &SCHEMAS).await).await?;
    findings.extend(look(conn, FREEZE_AGE, freeze_age).await?);
    Ok(findings)
}

async fn freeze_age(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let ages = sqlx::query!(
        r#"
        select
          age(datfrozenxid) as "transactions!",
          mxid_age(datminmxid) as "multixacts!",
          current_setting('autovacuum_freeze_max_age')::int as "max_transactions!",
          current_setting('autovacuum_multixact_freeze_max_age')::int as "max_multixacts!"
        from pg_database
        where datname = current_database()
        "#
    )
    .fetch_one(conn)
    .await?;
    let of = |what: &str, age: i32, max: i32| {
        let found = format!("the oldest {what} number is {age} old; vacuum is due at {max}");
        let level = match age {
            NEARLY_OVER.. => Level::Fail,
            _ if f64::from(age) > f64::from(max) * LATE_FACTOR => Level::Warn,
            _ => return Finding::ok(FREEZE_AGE, found),
        };
        let fix = "end what holds vacuum back (see oldest-transaction), then: vacuum freeze";
        Finding::new(FREEZE_AGE, level, found, fix)
    };
    Ok(vec![
        of("transaction", ages.transactions, ages.max_transactions),
        of("multixact", ages.multixacts, ages.max_multixacts),
    ])
}
