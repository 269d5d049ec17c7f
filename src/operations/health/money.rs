//! Money that needs somebody: transactions that came again with other content, and a ledger of
//! which a guarantee is broken.

use sqlx::PgConnection;

use crate::operations::verify;
use crate::payments::conflicts;
use crate::queue::health::{Finding, Level, look, span};

const CONFLICTS: &str = "conflicts";
const VERIFICATION: &str = "verification";

pub(super) async fn examine(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let mut findings = look(conn, CONFLICTS, conflicts).await?;
    findings.extend(look(conn, VERIFICATION, verification).await?);
    Ok(findings)
}

async fn conflicts(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let conflicts = conflicts::count_open(&mut *conn).await?;
    let Some(newest_at) = conflicts.newest_at else {
        let found = "no transaction came again with other content";
        return Ok(vec![Finding::ok(CONFLICTS, found)]);
    };
    let now = crate::operations::database_now(conn).await?;
    let more = if conflicts.is_more { " or more" } else { "" };
    Ok(vec![Finding::new(
        CONFLICTS,
        Level::Warn,
        format!(
            "transactions that came again with other content: {}{more}, the newest {} ago; ours \
             are kept as they are",
            conflicts.bodies,
            span((now - newest_at).as_seconds_f64())
        ),
        "compare both bodies and ask the provider which one holds",
    )])
}

async fn verification(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let last = verify::last(&mut *conn).await?;
    let Some(last) = last else {
        return Ok(vec![Finding::ok(VERIFICATION, "there was none yet")]);
    };
    let now = crate::operations::database_now(conn).await?;
    let ago = span((now - last.at).as_seconds_f64());
    Ok(vec![match last.ok {
        true => Finding::ok(VERIFICATION, format!("every guarantee held {ago} ago")),
        false => Finding::new(
            VERIFICATION,
            Level::Fail,
            format!("{} rows broke a guarantee {ago} ago", last.violations),
            "verify again: the report names the guarantee and what may have broken it",
        ),
    }])
}
