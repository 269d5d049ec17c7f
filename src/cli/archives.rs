//! `app archives`: flags, tables and exit codes of [the operations on
//! archives](crate::operations::archives).

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;
use sqlx::PgConnection;
use time::Duration;

use super::actor::ActorArgs;
use super::database::Database;
use super::output::{Output, moment, print_values, table};
use super::report::{FAILED, USAGE};
use crate::arguments::parse_duration;
use crate::db;
use crate::operations::archives::{
    self, ArchiveView, FileProof, KEEP_AT_LEAST, MAX_LISTED, MAX_PER_FILE, NewArchive, Prover,
};
use crate::operations::{Actor, database_now};
use crate::terminal;

const APPLICATION: &str = "surety-archives";

const EXAMPLES: &str = "\
Examples:
  app archives create --older-than 400d --to /var/lib/archives --dry-run --reason -
  app archives create --older-than 400d --to /var/lib/archives --yes --reason 'the books of 2024'
  app archives list
  app archives verify /var/lib/archives/ledger-*.jsonl.gz
  app archives verify --offline /var/lib/archives/ledger-000001-*.jsonl.gz

What goes is what settled transactions of providers: transfers and their entries. Transactions stay,
so that one that comes again is known, and so does all that is of users. Each account carries its
balance forward. Nothing brings a transfer back into the ledger: keep the files as long as the law
wants the books, and in two places.

Exit codes: 0 done, 1 failed (verify: a file does not hold), 2 usage, 7 database unreachable,
8 schema mismatch.";

/// Moves old transfers of providers' transactions into files, and proves the files.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Writes what is old into files, and removes it from the ledger; one file, one commit.
    Create {
        #[command(flatten)]
        database: Database,
        /// The time for which transfers stay in the database: 400d; at least 31d.
        #[arg(long, value_name = "DURATION", value_parser = parse_keep)]
        older_than: Duration,
        /// The folder of the files, which is there.
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
        /// About so many transfers in one file. 100,000 take some 10 MB and ten seconds.
        #[arg(long, value_name = "N", default_value_t = 100_000,
              value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PER_FILE)))]
        per_file: u32,
        /// The most files.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        max_files: Option<u32>,
        /// Only say what there is to do.
        #[arg(long)]
        dry_run: bool,
        /// Do it without asking.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        actor: ActorArgs,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Lists them, newest first.
    List {
        #[command(flatten)]
        database: Database,
        /// The most that are listed.
        #[arg(long, default_value_t = 50,
              value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_LISTED)))]
        limit: u16,
        /// Only those before this one: where another list ended.
        #[arg(long, value_name = "NUMBER")]
        before: Option<i32>,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Proves files: by themselves, and by the database and its audit log.
    Verify {
        #[command(flatten)]
        database: Database,
        /// The files, in any order.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Without a database: only what the files say of themselves and of each other.
        #[arg(long)]
        offline: bool,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
}

fn parse_keep(text: &str) -> Result<Duration, String> {
    let keep = parse_duration(text).map_err(|error| error.to_string())?;
    let keep = Duration::try_from(keep).map_err(|_| "is too long".to_owned())?;
    match keep >= KEEP_AT_LEAST {
        true => Ok(keep),
        false => Err(format!("is less than {} days", KEEP_AT_LEAST.whole_days())),
    }
}

/// Does what `args` ask for.
///
/// # Errors
///
/// When the database cannot be reached or refuses, or a file cannot be written.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Create {
            database,
            older_than,
            to,
            per_file,
            max_files,
            dry_run,
            yes,
            actor,
            output,
        } => {
            let pool = database.connect_current(APPLICATION).await?;
            let mut conn = db::connect_for_slow_statements(&pool).await?;
            let new = NewArchive { keep: older_than, per_file, folder: &to };
            if !has_consent(&mut conn, new, dry_run, yes).await? {
                return Ok(if dry_run { ExitCode::SUCCESS } else { ExitCode::from(USAGE) });
            }
            create(&mut conn, new, max_files, &actor.into_actor(), output).await
        }
        Command::List { database, limit, before, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            let listed = archives::list(&mut *pool.acquire().await?, before, limit).await?;
            print_list(&listed, limit, output)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Verify { database: _, files, offline: true, output } => {
            verify(None, files, output).await
        }
        Command::Verify { database, files, offline: false, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            verify(Some(&mut *pool.acquire().await?), files, output).await
        }
    }
}

/// Says what there is to do, and asks for consent; false where it is not to be done.
async fn has_consent(
    conn: &mut PgConnection,
    new: NewArchive<'_>,
    dry_run: bool,
    yes: bool,
) -> anyhow::Result<bool> {
    if yes && !dry_run {
        return Ok(true);
    }
    let count = archives::count(&mut *conn, new.keep).await?;
    let end = moment(Some(database_now(conn).await? - new.keep));
    if dry_run {
        println!("{count} transfers dated before {end} would be moved into files");
        return Ok(false);
    }
    let what = format!("This moves {count} transfers dated before {end} out of the ledger.");
    if terminal::says_yes_to(&what)? {
        return Ok(true);
    }
    eprintln!(
        "error: nothing was changed: an archive needs consent\n  fix:   add --yes to make it, or \
         --dry-run to see what there is"
    );
    Ok(false)
}

async fn create(
    conn: &mut PgConnection,
    new: NewArchive<'_>,
    max_files: Option<u32>,
    actor: &Actor,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let mut made = 0;
    while max_files.is_none_or(|most| made < most) {
        let archive = archives::create_next(conn, new, actor).await.with_context(|| {
            let folder = new.folder.display();
            format!("after {made} files in {folder}; 'app archives list' says what was made")
        })?;
        let Some(archive) = archive else { break };
        made += 1;
        match output {
            Output::Table => println!(
                "archive {}: {} transfers dated before {} are in {}",
                archive.number,
                archive.transfers,
                moment(Some(archive.dated_before)),
                new.folder.join(&archive.file).display()
            ),
            Output::Json | Output::Jsonl => println!("{}", serde_json::to_string(&archive)?),
        }
    }
    if made == 0 {
        eprintln!("no transfer of a provider's transaction is as old as that");
    }
    Ok(ExitCode::SUCCESS)
}

fn print_list(listed: &[ArchiveView], limit: u16, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Table => {
            let rows: Vec<_> = listed.iter().map(row).collect();
            print!("{}", table(["ARCHIVE", "BEFORE", "TRANSFERS", "MADE", "FILE"], &rows));
            if rows.is_empty() {
                eprintln!("there is none");
            }
            if let Some(last) = listed.last().filter(|_| listed.len() == usize::from(limit)) {
                let before = last.number;
                eprintln!("there may be more: --limit for longer lists, or --before {before}");
            }
        }
        Output::Json | Output::Jsonl => print_values(listed, output)?,
    }
    Ok(())
}

fn row(archive: &ArchiveView) -> [String; 5] {
    [
        archive.number.to_string(),
        moment(Some(archive.dated_before)),
        archive.transfers.to_string(),
        moment(Some(archive.made_at)),
        archive.file.clone(),
    ]
}

/// All proofs of one call.
#[derive(Serialize)]
struct Proofs {
    files: Vec<FileProof>,
    /// The differences between the files and what accounts carry forward.
    problems: Vec<String>,
}

async fn verify(
    mut conn: Option<&mut PgConnection>,
    mut files: Vec<PathBuf>,
    output: Output,
) -> anyhow::Result<ExitCode> {
    // Their names begin with their numbers.
    files.sort_by(|one, other| one.file_name().cmp(&other.file_name()));
    let mut prover = Prover::default();
    let mut proofs = Proofs { files: Vec::new(), problems: Vec::new() };
    for file in &files {
        let proof = prover.prove(file, conn.as_deref_mut()).await?;
        if output == Output::Table {
            print_proof(&proof);
        }
        proofs.files.push(proof);
    }
    if let Some(conn) = conn {
        proofs.problems = prover.compare_accounts(conn).await?;
    }
    let holds =
        proofs.problems.is_empty() && proofs.files.iter().all(|file| file.problems.is_empty());
    match output {
        Output::Table => print_verdict(&proofs, holds, prover.is_whole()),
        Output::Json | Output::Jsonl => println!("{}", serde_json::to_string(&proofs)?),
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn print_proof(proof: &FileProof) {
    let FileProof { file, number, transfers, problems } = proof;
    if problems.is_empty() {
        let number = number.unwrap_or_default();
        println!("ok    {file}: archive {number}, {transfers} transfers");
        return;
    }
    println!("FAIL  {file}");
    print_problems(problems);
}

fn print_verdict(proofs: &Proofs, holds: bool, is_whole: bool) {
    if !proofs.problems.is_empty() {
        println!("FAIL  what accounts carry forward");
        print_problems(&proofs.problems);
    }
    match (holds, is_whole) {
        (true, true) => println!("every file holds, from the first archive on"),
        (true, false) => println!("every file holds; not all archives were given"),
        (false, _) => println!("not everything holds"),
    }
}

/// The first of them; thousands would have one cause.
fn print_problems(problems: &[String]) {
    const SHOWN: usize = 10;
    for problem in problems.iter().take(SHOWN) {
        println!("      {problem}");
    }
    if problems.len() > SHOWN {
        println!("      and {} more", problems.len() - SHOWN);
    }
}
