//! Findings of a look at the database, and taking such a look.

use serde::Serialize;
use sqlx::{Connection as _, PgConnection};

use super::Fix;

/// The time limit of one check. A server in trouble is slow, and a check that waits for it tells
/// nobody anything.
const LOOK_TIMEOUT: &str = "set local statement_timeout = '5s'";

/// The severity of a finding, from the best to the worst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// This role may not see it; it may be good or bad.
    Unseen,
    /// Works, but somebody should look.
    Warn,
    /// Something is lost, stands still, or soon will.
    Fail,
}

/// One line of what was found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// A stable name of what was looked at, for scripts. Several findings may share one.
    pub check: &'static str,
    /// The severity.
    pub level: Level,
    /// The finding in words.
    pub found: String,
    /// The remedy; null when there is nothing to mend.
    pub fix: Option<Fix>,
}

impl Finding {
    /// All is well.
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, found: found.into(), fix: None }
    }

    /// Not `Ok`, and what mends it.
    pub fn new(
        check: &'static str,
        level: Level,
        found: impl Into<String>,
        fix: impl Into<Fix>,
    ) -> Self {
        Self { check, level, found: found.into(), fix: Some(fix.into()) }
    }
}

/// Looks at one thing: in a read-only transaction of its own, within five seconds. What the
/// database refuses to answer is a finding by itself, so that one table that this role may not read
/// does not hide all the others.
///
/// # Errors
///
/// When the connection breaks.
pub async fn look(
    conn: &mut PgConnection,
    check: &'static str,
    questions: impl AsyncFnOnce(&mut PgConnection) -> Result<Vec<Finding>, sqlx::Error>,
) -> Result<Vec<Finding>, sqlx::Error> {
    let mut tx = conn.begin_with("begin read only").await?;
    sqlx::raw_sql(LOOK_TIMEOUT).execute(&mut *tx).await?;
    let answered = questions(&mut tx).await;
    tx.rollback().await?;
    match answered {
        Ok(findings) => Ok(findings),
        Err(sqlx::Error::Database(refusal)) => {
            Ok(vec![refused(check, refusal.code().as_deref(), refusal.message())])
        }
        Err(error) => Err(error),
    }
}

fn refused(check: &'static str, sqlstate: Option<&str>, message: &str) -> Finding {
    match sqlstate {
        Some("42501") => Finding::new(
            check,
            Level::Unseen,
            format!("this role may not look: {message}"),
            "ask as the role that the application uses, or grant this one the right",
        ),
        Some("57014") => Finding::new(
            check,
            Level::Warn,
            "looking took longer than 5 s, so it is not known",
            "look again when the database is less busy",
        ),
        _ => Finding::new(
            check,
            Level::Fail,
            format!("could not be looked at: {message}"),
            Fix::CompareMigrations,
        ),
    }
}

/// A span of time in the unit that people would use.
pub fn span(secs: f64) -> String {
    let secs = secs.max(0.0);
    match secs {
        ..10.0 => format!("{secs:.1} s"),
        ..120.0 => format!("{secs:.0} s"),
        ..7200.0 => format!("{:.0} min", secs / 60.0),
        ..172_800.0 => format!("{:.0} h", secs / 3600.0),
        _ => format!("{:.0} days", secs / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_be_seen_is_not_said_to_be_bad() {
        assert_eq!(refused("x", Some("42501"), "permission denied").level, Level::Unseen);
        assert_eq!(refused("x", Some("57014"), "canceled").level, Level::Warn);
        assert_eq!(refused("x", Some("42P01"), "no such table").level, Level::Fail);
    }

    #[test]
    fn spans_have_the_unit_of_their_size() {
        let spans = [-1.0, 0.04, 9.96, 61.0, 600.0, 7300.0, 200_000.0].map(span);
        assert_eq!(spans, ["0.0 s", "0.0 s", "10.0 s", "61 s", "10 min", "2 h", "2 days"]);
    }
}
