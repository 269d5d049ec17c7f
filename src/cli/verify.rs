//! `app verify`: checks what must hold on a live database, all in one snapshot.
//!
//! The queue and the money each know their own invariants; those that join the two are here.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::report;
use crate::invariants::{Finding, Invariant, Weight};
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
        JOINT_INVARIANTS,
        payments::verify::INVARIANTS,
        payments::orders::verify::INVARIANTS,
        queue::verify::INVARIANTS,
    ];
    all.into_iter().flatten().copied()
}

/// What was found.
#[derive(Debug)]
pub struct Report {
    database: String,
    checked_at: OffsetDateTime,
    findings: Vec<Finding>,
    took: Duration,
}

impl Report {
    /// Whether every guarantee holds.
    pub fn holds(&self) -> bool {
        !self.findings.iter().any(Finding::is_failure)
    }

    /// What each check found.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let Invariant { claim, protects, hint, .. } = finding.invariant;
            let found = rows(finding);
            text += &match status(finding) {
                Status::Ok => format!("ok    {claim}\n"),
                Status::Note => format!("note  {claim}: {found}\n      {hint}\n"),
                Status::Fail => {
                    format!("FAIL  {claim}: {found}\n      protects {protects}; {hint}\n")
                }
            };
        }
        let failures = self.findings.iter().filter(|finding| finding.is_failure()).count();
        let verdict = match failures {
            0 => "every guarantee holds".to_owned(),
            1 => "1 invariant is broken".to_owned(),
            many => format!("{many} invariants are broken"),
        };
        text += &format!(
            "{verdict}: {} checks of database {} as of {}, in {:.1} s\n",
            self.findings.len(),
            self.database,
            rfc3339(self.checked_at),
            self.took.as_secs_f64()
        );
        text
    }

    fn to_json(&self) -> serde_json::Value {
        let invariant = |finding: &Finding| {
            json!({
                "name": finding.invariant.name,
                "claim": finding.invariant.claim,
                "protects": finding.invariant.protects,
                "status": status(finding),
                "violations": finding.violations,
                "samples": finding.samples,
                "hint": finding.invariant.hint,
                "duration_ms": finding.took.as_millis() as u64,
            })
        };
        json!({
            "holds": self.holds(),
            "database": self.database,
            "checked_at": rfc3339(self.checked_at),
            "duration_ms": self.took.as_millis() as u64,
            "invariants": self.findings.iter().map(invariant).collect::<Vec<_>>(),
        })
    }
}

/// What is said of a finding, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Note,
    Fail,
}

fn status(finding: &Finding) -> Status {
    match (finding.violations, finding.invariant.weight) {
        (0, _) => Status::Ok,
        (_, Weight::Notice) => Status::Note,
        (_, Weight::Guarantee) => Status::Fail,
    }
}

/// `3 rows (job 1, job 2, …)`.
fn rows(finding: &Finding) -> String {
    let samples = finding.samples.join(", ");
    let more = if finding.violations > finding.samples.len() as i64 { ", …" } else { "" };
    match finding.violations {
        1 => format!("1 row ({samples})"),
        many => format!("{many} rows ({samples}{more})"),
    }
}

fn rfc3339(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}

/// What joins the money and the queue.
pub const JOINT_INVARIANTS: &[Invariant] = &[
    ONE_JOB_EACH,
    JOBS_HAVE_TRANSACTIONS,
    PROCESSING_HAVE_A_JOB,
    SETTLED_HAVE_A_FINISHED_JOB,
    NONE_WAITS_FOR_AN_OPERATOR,
];

/// Protects G2, that an accepted webhook makes exactly one job, and G1, that what was answered with
/// 202 is done.
///
/// Retention drops finished jobs by age, never transactions. So a transaction that was settled
/// before the first day from which completed jobs are kept may be without one. Any later one, and
/// any that is not settled, may not.
const ONE_JOB_EACH: Invariant = Invariant {
    name: "transactions-have-one-settle-job",
    claim: "every accepted transaction has exactly one settle job",
    protects: "G1, G2",
    hint: "look at queue.all_jobs by args ->> 'transaction'; who wrote transaction or job alone?",
    weight: Weight::Guarantee,
    violations: "
        with kept as materialized (
          select coalesce(queue.kept_since('queue.finished_jobs_completed'), 'infinity') as since
        )
        select format('transaction %s (%s)', transaction.id, transaction.transaction_id)
        from payments.transactions as transaction
        cross join kept
        left join (
          select (args -> 'transaction')::bigint as transaction_id, count(*) as jobs
          from (
            select args from queue.jobs where kind = 'settle_transaction'
            union all
            select args from queue.finished_jobs where kind = 'settle_transaction'
          ) as job
          group by 1
        ) as settle_jobs on settle_jobs.transaction_id = transaction.id
        where settle_jobs.jobs > 1
          or (
            settle_jobs.jobs is null
            and (transaction.processed_at < kept.since) is not true
          )",
};

/// Protects G2 from the other side: job and transaction are written by one commit.
const JOBS_HAVE_TRANSACTIONS: Invariant = Invariant {
    name: "settle-jobs-have-their-transaction",
    claim: "every settle job has its transaction",
    protects: "G2",
    hint: "was the job enqueued by hand, or the transaction deleted?",
    weight: Weight::Guarantee,
    violations: "
        select format('job %s', job.id)
        from (
          select id, args from queue.jobs where kind = 'settle_transaction'
          union all
          select id, args from queue.finished_jobs where kind = 'settle_transaction'
        ) as job
        left join payments.transactions as transaction
          on transaction.id = (job.args -> 'transaction')::bigint
        where transaction.id is null",
};

/// Protects G1 and G3: what is not settled yet will be, unless an operator has to decide.
const PROCESSING_HAVE_A_JOB: Invariant = Invariant {
    name: "processing-transactions-have-a-job",
    claim: "every PROCESSING transaction has a settle job that is waiting, running or discarded",
    protects: "G1, G3",
    hint: "did a job finish without its transaction's outcome in the same commit?",
    weight: Weight::Guarantee,
    violations: "
        select format('transaction %s (%s)', transaction.id, transaction.transaction_id)
        from payments.transactions as transaction
        left join (
          select args from queue.jobs where kind = 'settle_transaction'
          union all
          select args from queue.finished_jobs
          where kind = 'settle_transaction' and state = 'discarded'
        ) as job on (job.args -> 'transaction')::bigint = transaction.id
        where transaction.status = 'PROCESSING' and job.args is null",
};

/// Protects G3: the outcome and the job's completion are one commit.
const SETTLED_HAVE_A_FINISHED_JOB: Invariant = Invariant {
    name: "settled-transactions-have-no-unfinished-job",
    claim: "no COMPLETED or FAILED transaction has a settle job that is still to be run",
    protects: "G3",
    hint: "did somebody write the outcome, or enqueue the job again, by hand?",
    weight: Weight::Guarantee,
    violations: "
        select format('job %s of transaction %s', job.id, transaction.id)
        from queue.jobs as job
        join payments.transactions as transaction
          on transaction.id = (job.args -> 'transaction')::bigint
        where job.kind = 'settle_transaction'
          and transaction.status in ('COMPLETED', 'FAILED')",
};

/// No guarantee, but money that nobody moves until somebody looks.
const NONE_WAITS_FOR_AN_OPERATOR: Invariant = Invariant {
    name: "no-transaction-waits-for-an-operator",
    claim: "no PROCESSING transaction's settle job was discarded",
    protects: "dead letters",
    hint: "queue.attempts says why each attempt failed; mend that, then run the job again",
    weight: Weight::Notice,
    violations: "
        select
          format('transaction %s (%s), job %s', transaction.id, transaction.transaction_id, job.id)
        from queue.finished_jobs as job
        join payments.transactions as transaction
          on transaction.id = (job.args -> 'transaction')::bigint
        where job.kind = 'settle_transaction'
          and job.state = 'discarded'
          and transaction.status = 'PROCESSING'",
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::SettleTransaction;
    use crate::queue::job::Job;

    #[test]
    fn joint_invariants_look_at_the_kind_that_settles() {
        for invariant in JOINT_INVARIANTS {
            let kind = format!("kind = '{}'", SettleTransaction::KIND);
            assert!(invariant.violations.contains(&kind), "{}", invariant.name);
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = invariants().map(|invariant| invariant.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
