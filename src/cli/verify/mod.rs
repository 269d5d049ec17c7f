//! `app verify`: checks what must hold on a live database, all in one snapshot.
//!
//! The queue and the money each know their own invariants; those that join them with each other and
//! with what clients were answered are here.
//!
//! - [`Report`]: what was found, for people and for scripts.
//! - `transactions`, `orders`: what joins them and the jobs that bring them to their outcomes.
//! - `idempotency_keys`: what joins the answers that are kept and the orders that they are about.

mod findings;
mod idempotency_keys;
mod orders;
mod transactions;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use time::OffsetDateTime;

pub use self::findings::Report;

use super::report;
use crate::invariants::Invariant;
use crate::{db, payments, queue};

const EXAMPLES: &str = "\
Examples:
  app verify           one line per invariant, and whether it holds
  app verify --json    the same for scripts

Only reads, and all from one moment: it may run while everything else does.

Exit codes: 0 all hold, 1 something is broken, 2 usage, or could not be checked.";

/// Neither of the two answers: what could not be checked is not said to be broken.
const NOT_CHECKED: u8 = 2;

/// Memory for each sort and hash of a check: with PostgreSQL's default of 4 MB, a million rows
/// spill to disk.
const WORK_MEM: &str = "128MB";

/// Checks that nothing was lost, nothing applied twice and no money made or destroyed.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The PostgreSQL database, as postgres://user@host:port/database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,

    /// Print JSON.
    #[arg(long)]
    json: bool,

    /// Seconds that the check of one invariant may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 600,
          value_parser = clap::value_parser!(u32).range(1..))]
    timeout_secs: u32,
}

/// Checks all invariants and prints what was found.
///
/// # Errors
///
/// None: what cannot be checked is said on stderr, and is exit code 2.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let report = match verify_database(&args).await {
        Ok(report) => report,
        Err(error) => {
            report::error(&error);
            return Ok(ExitCode::from(NOT_CHECKED));
        }
    };
    let text = if args.json { format!("{:#}\n", report.to_json()) } else { report.to_text() };
    // A reader that has seen enough, such as `head`, does not change what was found.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn verify_database(args: &Args) -> anyhow::Result<Report> {
    let pool = db::connect(&args.database_url, 1, "surety-verify").await?;
    db::require_current_schema(&pool).await?;
    // Slow statements are what this command is made of, and no reason for a warning each.
    let options = pool.connect_options().as_ref().clone().disable_statement_logging();
    let mut conn = PgConnection::connect_with(&options).await?;
    verify(&mut conn, Duration::from_secs(args.timeout_secs.into())).await
}

/// Checks all invariants in one snapshot. Changes nothing and makes nobody wait.
///
/// # Errors
///
/// When the database refuses, or one check takes longer than `timeout`.
pub async fn verify(conn: &mut PgConnection, timeout: Duration) -> anyhow::Result<Report> {
    let began = Instant::now();
    let mut tx = conn.begin_with("begin isolation level repeatable read read only").await?;
    prepare(&mut tx, timeout).await?;
    let (database, checked_at): (String, OffsetDateTime) =
        sqlx::query_as("select current_database()::text, now()").fetch_one(&mut *tx).await?;
    let mut findings = Vec::new();
    for invariant in invariants() {
        let finding = invariant.check(&mut tx).await;
        findings.push(finding.with_context(|| format!("checking {}", invariant.name))?);
    }
    tx.rollback().await?;
    Ok(Report { database, checked_at, findings, took: began.elapsed() })
}

/// Settings for statements that read whole tables, and a lock that keeps retention from dropping a
/// partition between the snapshot and the moment it is read. Retention does not wait for it; it
/// drops the partition the next time.
async fn prepare(conn: &mut PgConnection, timeout: Duration) -> Result<(), sqlx::Error> {
    let prepare = format!(
        "
        set local statement_timeout = '{}ms';
        set local work_mem = '{WORK_MEM}';
        set local enable_seqscan = on;
        lock table queue.finished_jobs, queue.attempts in access share mode
        ",
        timeout.as_millis()
    );
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(conn).await?;
    Ok(())
}

/// All invariants, in the order in which they are checked and printed.
pub fn invariants() -> impl Iterator<Item = Invariant> {
    let all = [
        transactions::INVARIANTS,
        orders::INVARIANTS,
        idempotency_keys::INVARIANTS,
        payments::verify::INVARIANTS,
        payments::orders::verify::INVARIANTS,
        queue::health::verify::INVARIANTS,
    ];
    all.into_iter().flatten().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = invariants().map(|invariant| invariant.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
