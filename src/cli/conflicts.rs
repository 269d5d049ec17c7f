//! `app conflicts`: transactions that came again with other content.

use std::process::ExitCode;

use super::actor::ActorArgs;
use super::database::Database;
use super::output::{Output, moment, print_values, table};
use super::report::{CONFLICT, NOT_FOUND};
use crate::operations::conflicts::{
    self, ConflictError, ConflictFilter, ConflictId, ConflictView, MAX_LISTED, Resolution, Resolve,
};
use crate::operations::{Mode, wake_workers};

const APPLICATION: &str = "surety-conflicts";

const EXAMPLES: &str = "\
Examples:
  app conflicts list
  app conflicts show 7
  app conflicts resolve 7 --keep --reason 'they sent a test body'
  app conflicts resolve 7 --correct --dry-run --reason 'the amount was wrong; case 4711'

A conflict is a known transaction_id with other content. Ours was recorded first, and stands until
somebody decides. A correction moves our money back and theirs forth, by two transactions of their
own that are settled as all others are; nothing that was written is changed.

Exit codes: 0 done, 1 failed, 2 usage, 3 no such conflict, 5 decided before or not possible,
7 database unreachable, 8 schema mismatch.";

/// Lists, shows and resolves transactions that came again with other content.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Lists those that nobody has decided over, newest first.
    List {
        #[command(flatten)]
        database: Database,
        /// Those that somebody has decided over, too.
        #[arg(long)]
        all: bool,
        /// Only of the transaction with this id.
        #[arg(long, value_name = "ID")]
        transaction: Option<String>,
        /// The most that are listed.
        #[arg(long, default_value_t = 50,
              value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_LISTED)))]
        limit: u16,
        /// Only those before this one: where another list ended.
        #[arg(long, value_name = "CONFLICT")]
        before: Option<i64>,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Shows both contents and what differs.
    Show {
        #[command(flatten)]
        database: Database,
        /// The number of the conflict.
        conflict: i64,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Decides over one.
    Resolve {
        #[command(flatten)]
        database: Database,
        /// The number of the conflict.
        conflict: i64,
        /// Keep what was recorded first.
        #[arg(long, required_unless_present = "correct", conflicts_with = "correct")]
        keep: bool,
        /// Take what came later: put the ledger right by linked transactions.
        #[arg(long)]
        correct: bool,
        /// Only say what would be done.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        actor: ActorArgs,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
}

/// Does what `args` ask for.
///
/// # Errors
///
/// When the database cannot be reached or refuses.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List { database, all, transaction, limit, before, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            let filter = ConflictFilter { open_only: !all, transaction_id: transaction };
            let before = before.map(ConflictId);
            let mut conn = pool.acquire().await?;
            let listed = conflicts::list(&mut conn, &filter, before, limit).await?;
            print_list(&listed, limit, output)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Show { database, conflict, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            match conflicts::find(&mut *pool.acquire().await?, ConflictId(conflict)).await? {
                Some(found) => {
                    print_one(&found, output)?;
                    Ok(ExitCode::SUCCESS)
                }
                None => Ok(refused(&ConflictError::NotFound, conflict)),
            }
        }
        Command::Resolve { database, conflict, keep: _, correct, dry_run, actor, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            let request = Resolve {
                id: ConflictId(conflict),
                resolution: if correct { Resolution::Corrected } else { Resolution::Kept },
                mode: if dry_run { Mode::DryRun } else { Mode::Commit },
            };
            let mut conn = pool.acquire().await?;
            let resolved = conflicts::resolve(&mut conn, request, &actor.into_actor()).await;
            drop(conn);
            match resolved {
                Ok(resolved) => {
                    if !dry_run {
                        wake_workers(&pool).await;
                    }
                    print_one(&resolved, output)?;
                    if dry_run && output == Output::Table {
                        println!("nothing was changed, because of --dry-run");
                    }
                    Ok(ExitCode::SUCCESS)
                }
                Err(error @ (ConflictError::Transaction(_) | ConflictError::Queue(_))) => {
                    Err(error.into())
                }
                Err(error) => Ok(refused(&error, conflict)),
            }
        }
    }
}

fn refused(error: &ConflictError, conflict: i64) -> ExitCode {
    eprintln!("error: conflict {conflict}: {error}");
    match error {
        ConflictError::NotFound => ExitCode::from(NOT_FOUND),
        _ => ExitCode::from(CONFLICT),
    }
}

fn print_list(listed: &[ConflictView], limit: u16, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Table => {
            let rows: Vec<_> = listed.iter().map(row).collect();
            let header = ["CONFLICT", "TRANSACTION", "CAME", "LAST SEEN", "DIFFERS", "DECIDED"];
            print!("{}", table(header, &rows));
            if rows.is_empty() {
                eprintln!("no known transaction came with other content");
            }
            if let Some(last) = listed.last().filter(|_| listed.len() == usize::from(limit)) {
                eprintln!("there may be more: --limit for longer lists, or --before {}", last.id);
            }
        }
        Output::Json | Output::Jsonl => print_values(listed, output)?,
    }
    Ok(())
}

fn row(conflict: &ConflictView) -> [String; 6] {
    let fields: Vec<&str> = conflict.differences.iter().map(|it| it.field).collect();
    [
        conflict.id.to_string(),
        conflict.transaction_id.clone(),
        format!("{} times", conflict.received_count),
        moment(Some(conflict.last_seen_at)),
        fields.join(", "),
        conflict.resolution.unwrap_or("-").to_owned(),
    ]
}

fn print_one(conflict: &ConflictView, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Table => print_details(conflict),
        Output::Json | Output::Jsonl => println!("{}", serde_json::to_string(conflict)?),
    }
    Ok(())
}

fn print_details(conflict: &ConflictView) {
    println!(
        "conflict {} of transaction {}: came {} times, from {} to {}",
        conflict.id,
        conflict.transaction_id,
        conflict.received_count,
        moment(Some(conflict.first_seen_at)),
        moment(Some(conflict.last_seen_at))
    );
    let differences: Vec<_> = conflict
        .differences
        .iter()
        .map(|it| [it.field.to_owned(), it.ours.clone(), it.theirs.clone()])
        .collect();
    print!("{}", table(["FIELD", "OURS", "THEIRS"], &differences));
    match &conflict.our_dropped_body_sha256 {
        None => println!("ours:   {}", conflict.ours.body),
        Some(hash) => println!("ours:   dropped after its retention, SHA-256 {hash}"),
    }
    println!("theirs: {}", conflict.theirs.body);
    let ours = &conflict.transaction.0;
    println!("ours is {:?}, reason {}", ours.status, ours.failure_reason.as_deref().unwrap_or("-"));
    if let (Some(resolution), Some(by), Some(why)) =
        (conflict.resolution, &conflict.resolved_by, &conflict.resolve_reason)
    {
        println!("{resolution} at {} by {by}: {why}", moment(conflict.resolved_at));
    }
    for (word, id) in
        [("moved back by", &conflict.reversal), ("corrected by", &conflict.correction)]
    {
        if let Some(id) = id {
            println!("{word} transaction {id}");
        }
    }
}
