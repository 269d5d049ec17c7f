//! `app verify`: flags, text and exit codes of the
//! [verification](crate::operations::verify).

use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::actor::NameArg;
use super::database::Database;
use super::output::Output;
use super::report;
use crate::db;
use crate::operations;
use crate::operations::jobs::selection::{InvalidValue, Moment, before};
use crate::operations::verify::{self, Finding, FindingStatus, Invariant, Report, Scope};

const EXAMPLES: &str = "\
Examples:
  app verify                 one line per invariant, and whether it holds
  app verify --since last    only what is new since every guarantee was last found to hold
  app verify --json          for scripts

All from one moment: it may run while everything else does. It changes nothing but the record of its
result, which is kept where this role may write.

With --since it takes as long as what is new takes; with 'last' it begins an hour before the end of
what was proved. The result of another --since is not kept. Only a whole verification finds what was
spoilt in older rows: let one run from time to time.

Exit codes: 0 all hold, 1 something is broken, 2 usage, or could not be checked.";

/// The exit code when something could not be checked, which is not said to be broken.
const NOT_CHECKED: u8 = 2;

/// Checks that nothing was lost, nothing applied twice and no money made or destroyed.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    database: Database,

    #[command(flatten)]
    by: NameArg,

    /// The output format.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,

    /// The same as -o json.
    #[arg(long, conflicts_with = "output")]
    json: bool,

    /// Only what was written since then: the last verification in which every guarantee held, a
    /// time in RFC 3339, or how long ago. [default: everything]
    #[arg(long, value_name = "last|TIME|DURATION", value_parser = parse_since)]
    since: Option<Since>,

    /// Seconds that the check of one invariant may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 600,
          value_parser = clap::value_parser!(u32).range(1..))]
    timeout_secs: u32,
}

/// The beginning of what is new.
#[derive(Clone, Copy, Debug)]
enum Since {
    /// The last verification in which every guarantee held.
    Last,
    /// This moment.
    Moment(Moment),
}

fn parse_since(text: &str) -> Result<Since, String> {
    match text {
        "last" => Ok(Since::Last),
        _ => text.parse().map(Since::Moment).map_err(|error: InvalidValue| error.to_string()),
    }
}

/// Checks all invariants and prints what was found.
///
/// # Errors
///
/// None: an invariant that cannot be checked is reported on stderr, with exit code 2.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let report = match verify_database(&args).await {
        Ok(report) => report,
        Err(error) => {
            report::error(&error);
            return Ok(ExitCode::from(NOT_CHECKED));
        }
    };
    let output = if args.json { Output::Json } else { args.output };
    let text = match output {
        Output::Table => in_words(&report),
        Output::Json => format!("{:#}\n", serde_json::to_value(&report)?),
        Output::Jsonl => format!("{}\n", serde_json::to_string(&report)?),
    };
    // A reader that has seen enough, such as `head`, does not change what was found.
    print!("{text}");
    Ok(if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn verify_database(args: &Args) -> anyhow::Result<Report> {
    let pool = args.database.connect("surety-verify").await?;
    db::require_current_schema(&pool).await?;
    let mut conn = db::connect_for_slow_statements(&pool).await?;
    let timeout = Duration::from_secs(args.timeout_secs.into());
    let scope = match args.since {
        None => Scope::Everything,
        Some(Since::Last) => verify::since_last(&mut conn).await?,
        Some(Since::Moment(moment)) => {
            let now = operations::database_now(&mut conn).await?;
            let since = before(moment, now);
            ensure!(since <= now, "--since is still to come: it is {} now", rfc3339(now));
            // Not kept, as it proves nothing of the time before.
            return Ok(verify::verify(&mut conn, Scope::Since(since), timeout).await?);
        }
    };
    Ok(verify::verify_and_record(&mut conn, scope, timeout, &args.by.identity()).await?)
}

fn in_words(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let Invariant { claim, protects, hint, .. } = finding.invariant;
        let found = rows(finding);
        text += &match FindingStatus::of(finding) {
            FindingStatus::Ok => format!("ok    {claim}\n"),
            FindingStatus::Note => format!("note  {claim}: {found}\n      {hint}\n"),
            FindingStatus::Fail => {
                format!("FAIL  {claim}: {found}\n      protects {protects}; {hint}\n")
            }
        };
    }
    let failures = report.findings.iter().filter(|finding| finding.is_failure()).count();
    let verdict = match failures {
        0 => "every guarantee holds".to_owned(),
        1 => "1 invariant is broken".to_owned(),
        many => format!("{many} invariants are broken"),
    };
    let since = match report.scope {
        Scope::Everything => String::new(),
        Scope::Since(since) => format!(" since {}", rfc3339(since)),
    };
    text += &format!(
        "{verdict}: {} checks of database {}{since} as of {}, in {:.1} s\n",
        report.findings.len(),
        report.database,
        rfc3339(report.checked_at),
        report.took.as_secs_f64()
    );
    if !report.left_out.is_empty() {
        let names: Vec<&str> = report.left_out.iter().map(|invariant| invariant.name).collect();
        text += &format!("left to a whole verification: {}\n", names.join(", "));
    }
    text
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
