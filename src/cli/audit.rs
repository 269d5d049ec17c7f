//! `app audit`: flags, tables and exit codes of the
//! [operations on the audit log](crate::operations::audit).

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use sqlx::PgPool;

use super::database::Database;
use super::output::{Output, print_values, table};
use super::report::{FAILED, NOT_FOUND};
use crate::db;
use crate::operations::audit::{self, AuditFilter, EntryView, Head, Proof, Report, Subject};
use crate::operations::database_now;
use crate::operations::jobs::selection::{self, Moment};

const APPLICATION: &str = "surety-audit";

/// The largest proof that is read: 50 entries of 200 kB each are less.
const MAX_PROOF_BYTES: u64 = 32 << 20;
/// The longest line that is read of a file of heads.
const MAX_LINE_BYTES: u64 = 4_096;

const EXAMPLES: &str = "\
Examples:
  app audit list --actor cli:ada --since 2h
  app audit list --subject queue/bank --action queue. -o jsonl
  app audit show 812
  app audit verify --head /mnt/worm/heads.jsonl
  app audit head
  app audit proof transaction/txn_1001 > proof.json
  app audit check-proof proof.json --head /mnt/worm/heads.jsonl

'verify' computes everything again from the entries, and finds what was altered, removed, reordered
or cut off. Only heads that were exported (APP_AUDIT_EXPORT of 'app work') prove it against those
who may change the database as they like. 'check-proof' needs no database.

Exit codes: 0 done or all is well, 1 something was changed or a proof proves nothing, 2 usage, 3 no
such entry or none that is sealed yet, 7 database unreachable, 8 schema mismatch.";

/// Lists, proves and verifies the log of who did what.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Lists entries, newest first.
    List(List),
    /// Shows one entry.
    Show {
        #[command(flatten)]
        database: Database,
        /// The number of the entry.
        seq: i64,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Computes the whole log again and says what was changed.
    Verify {
        #[command(flatten)]
        database: Database,
        /// A file of exported heads to compare with.
        #[arg(long, value_name = "FILE")]
        head: Option<PathBuf>,
        /// The longest time for one statement.
        #[arg(long, value_name = "DURATION", default_value = "10m",
              value_parser = crate::arguments::parse_duration)]
        timeout: Duration,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Prints the newest head as it is exported.
    Head {
        #[command(flatten)]
        database: Database,
    },
    /// Prints a proof that the entries about a subject are in the log.
    Proof {
        #[command(flatten)]
        database: Database,
        /// The subject, as in transaction/txn_1001.
        #[arg(value_parser = subject)]
        subject: Subject,
        /// The size of the head to prove it with, such as one that was exported. [default: newest]
        #[arg(long)]
        size: Option<u64>,
    },
    /// Checks a proof without any database.
    CheckProof {
        /// The file of the proof; - reads stdin.
        file: PathBuf,
        /// A file of exported heads, one of which must be that of the proof.
        #[arg(long, value_name = "FILE")]
        head: Option<PathBuf>,
    },
}

#[derive(clap::Args, Debug)]
struct List {
    #[command(flatten)]
    database: Database,
    /// Only what this one did, as in cli:ada.
    #[arg(long)]
    actor: Option<String>,
    /// Only this action; with a dot at its end, all that begin with it.
    #[arg(long)]
    action: Option<String>,
    /// Only about this subject, as in queue/bank.
    #[arg(long, value_parser = subject)]
    subject: Option<Subject>,
    /// Only since then, like 2026-11-21T08:00:00Z or 2h.
    #[arg(long)]
    since: Option<Moment>,
    /// Only before then.
    #[arg(long)]
    until: Option<Moment>,
    /// Only what people and machines did, not what the program did by itself.
    #[arg(long)]
    callers: bool,
    /// The most that are listed.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    limit: u16,
    /// The output format.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

fn subject(text: &str) -> Result<Subject, &'static str> {
    match text.split_once('/') {
        Some((kind, id)) if !kind.is_empty() && !id.is_empty() => Ok(Subject::new(kind, id)),
        _ => Err("expected a kind and a name, as in queue/bank"),
    }
}

/// Does what `args` ask for.
///
/// # Errors
///
/// When the database cannot be reached or refuses, or a file cannot be read.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List(args) => list(args).await,
        Command::Show { database, seq, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            show(&pool, seq, output).await
        }
        Command::Verify { database, head, timeout, output } => {
            let heads = head.as_deref().map(read_heads).transpose()?;
            let pool = database.connect_current(APPLICATION).await?;
            let mut conn = db::connect_for_slow_statements(&pool).await?;
            let exported = heads.as_deref().unwrap_or_default();
            let report = audit::verify(&mut conn, exported, timeout).await?;
            print_report(&report, head.is_some(), output)?;
            Ok(if report.violations == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
        }
        Command::Head { database } => {
            let pool = database.connect_current(APPLICATION).await?;
            match audit::head(&mut *pool.acquire().await?).await? {
                Some(head) => println!("{}", head.line()),
                None => return Ok(missing("nothing is sealed yet: a worker does that")),
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Proof { database, subject, size } => {
            let pool = database.connect_current(APPLICATION).await?;
            match audit::prove(&mut *pool.acquire().await?, &subject, size).await? {
                Some(proof) => println!("{:#}", json!(proof)),
                None => {
                    return Ok(missing("no entry about it is sealed, or no head has that size"));
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::CheckProof { file, head } => check_proof(&file, head.as_deref()),
    }
}

fn missing(words: &str) -> ExitCode {
    eprintln!("error: {words}");
    ExitCode::from(NOT_FOUND)
}

async fn list(args: List) -> anyhow::Result<ExitCode> {
    let pool = args.database.connect_current(APPLICATION).await?;
    let mut conn = pool.acquire().await?;
    let now = database_now(&mut conn).await?;
    let (subject_kind, subject_id) = args.subject.map(|it| (it.kind, it.id)).unzip();
    let filter = AuditFilter {
        actor: args.actor,
        action: args.action,
        subject_kind,
        subject_id,
        since: args.since.map(|since| selection::before(since, now)),
        until: args.until.map(|until| selection::before(until, now)),
        callers_only: args.callers,
        local_pages_too: false,
    };
    let entries = audit::list(&mut conn, &filter, None, args.limit).await?;
    match args.output {
        Output::Table => {
            let rows: Vec<_> = entries.iter().map(row).collect();
            print!("{}", table(["SEQ", "AT", "ACTOR", "ACTION", "SUBJECT", "REASON"], &rows));
        }
        Output::Json | Output::Jsonl => print_values(&entries, args.output)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn row(entry: &EntryView) -> [String; 6] {
    [
        entry.seq.to_string(),
        entry.at.clone(),
        entry.actor.clone(),
        entry.action.clone(),
        format!("{}/{}", entry.subject_kind, entry.subject_id),
        entry.reason.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}

async fn show(pool: &PgPool, seq: i64, output: Output) -> anyhow::Result<ExitCode> {
    let found = audit::find(&mut *pool.acquire().await?, seq).await?;
    let Some(entry) = found else {
        return Ok(missing(&format!("there is no entry {seq}; 'app audit list' shows them")));
    };
    let value = serde_json::to_value(&entry)?;
    match output {
        Output::Table => {
            for (name, value) in value.as_object().into_iter().flatten() {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                println!("{name:<13} {value}");
            }
        }
        Output::Json | Output::Jsonl => println!("{value}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn print_report(report: &Report, has_heads: bool, output: Output) -> anyhow::Result<()> {
    let Report { sealed, unsealed, heads, exported_heads, violations, findings } = report;
    if output != Output::Table {
        println!("{}", serde_json::to_string(report)?);
        return Ok(());
    }
    for finding in findings {
        println!("FAIL  {finding}");
    }
    let told = findings.len() as u64;
    if *violations > told {
        println!("FAIL  and {} more", violations - told);
    }
    match violations {
        0 => println!("ok    every entry is what was sealed"),
        1 => println!("1 thing is not as it was"),
        many => println!("{many} things are not as they were"),
    }
    println!(
        "{sealed} entries are sealed under {heads} heads, {unsealed} wait for it; compared with \
         {exported_heads} exported heads"
    );
    if !has_heads {
        println!("note  without --head it is not proven against who may change the whole database");
    }
    Ok(())
}

/// The heads in a file of lines. A line that is none, such as the one that a process was killed at,
/// is told and passed over.
fn read_heads(path: &Path) -> anyhow::Result<Vec<Head>> {
    let unreadable = || format!("the file of heads {} cannot be read", path.display());
    let mut file = BufReader::new(std::fs::File::open(path).with_context(unreadable)?);
    let (mut heads, mut number) = (Vec::new(), 0_u64);
    loop {
        let mut line = Vec::new();
        file.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line).with_context(unreadable)?;
        if line.is_empty() {
            break;
        }
        number += 1;
        match Head::parse(String::from_utf8_lossy(&line).trim()) {
            Ok(head) => heads.push(head),
            Err(_) => eprintln!("warning: line {number} of the file of heads is none"),
        }
    }
    anyhow::ensure!(!heads.is_empty(), "the file {} holds no head", path.display());
    Ok(heads)
}

fn check_proof(file: &Path, heads: Option<&Path>) -> anyhow::Result<ExitCode> {
    let heads = heads.map(read_heads).transpose()?;
    let mut text = String::new();
    match file == Path::new("-") {
        true => std::io::stdin().take(MAX_PROOF_BYTES).read_to_string(&mut text),
        false => std::fs::File::open(file)
            .and_then(|file| file.take(MAX_PROOF_BYTES).read_to_string(&mut text)),
    }
    .with_context(|| format!("the proof {} cannot be read", file.display()))?;
    let proof: Proof = match serde_json::from_str(&text) {
        Ok(proof) => proof,
        Err(error) => {
            eprintln!("error: {} holds no proof: {error}", file.display());
            return Ok(ExitCode::from(FAILED));
        }
    };
    if let Err(error) = proof.check(heads.as_deref()) {
        eprintln!("error: the proof proves nothing: {error}");
        return Ok(ExitCode::from(FAILED));
    }
    for proven in &proof.entries {
        println!("{}", proven.entry);
    }
    let (count, Head { size, at, .. }) = (proof.entries.len(), &proof.head);
    let whose = if heads.is_some() { "exported head" } else { "proof's own head, not exported," };
    eprintln!("ok: {count} of the {size} entries that the {whose} of {at} stands for");
    Ok(ExitCode::SUCCESS)
}
