//! `app webhooks`: inbound webhooks of providers with a shape of their own.

use std::path::PathBuf;
use std::process::ExitCode;

use super::database::Database;
use super::output::{Output, moment, print_values, table};
use crate::operations::webhook_rejections::{self, MAX_LISTED, Rejection, RejectionFilter};
use crate::serve::check_webhook_sources;

const APPLICATION: &str = "surety-webhooks";

const EXAMPLES: &str = "\
Examples:
  app webhooks check sources.toml
  app webhooks rejected
  app webhooks rejected --source stripe --verified -o json

Of a source the newest 1,000 rejected deliveries that were signed are kept, and the newest 200 of
the others, for 30 days; the body of one that was not signed is kept as its size and hash alone.

Exit codes: 0 done, 1 failed, 2 usage, 7 database unreachable, 8 schema mismatch, 78 the file cannot
be used.";

/// Checks the sources of webhooks, and lists what they were refused.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Reads a file of sources as 'app serve' would, with the secrets that it names.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Lists rejected deliveries, newest first.
    Rejected {
        #[command(flatten)]
        database: Database,
        /// Only of this source.
        #[arg(long, value_name = "NAME")]
        source: Option<String>,
        /// Only those whose signature was right.
        #[arg(long)]
        verified: bool,
        /// The most that are listed.
        #[arg(long, default_value_t = 50,
              value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_LISTED)))]
        limit: u16,
        /// Only those before this one: where another list ended.
        #[arg(long, value_name = "REJECTION")]
        before: Option<i64>,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
}

/// Does what `args` ask for.
///
/// # Errors
///
/// When the file cannot be used, or the database cannot be reached or refuses.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Check { file } => {
            for source in check_webhook_sources(file)? {
                println!("/v1/webhooks/sources/{source}");
            }
        }
        Command::Rejected { database, source, verified, limit, before, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            let filter = RejectionFilter { source, verified_only: verified };
            let mut conn = pool.acquire().await?;
            let listed = webhook_rejections::list(&mut conn, &filter, before, limit).await?;
            print_list(&listed, limit, output)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_list(listed: &[Rejection], limit: u16, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Table => {
            let rows: Vec<_> = listed.iter().map(row).collect();
            let header = ["REJECTION", "SOURCE", "SIGNED", "REASON", "CAME", "LAST SEEN", "DETAIL"];
            print!("{}", table(header, &rows));
            if rows.is_empty() {
                eprintln!("nothing was rejected");
            }
            if let Some(last) = listed.last().filter(|_| listed.len() == usize::from(limit)) {
                eprintln!("there may be more: --limit for longer lists, or --before {}", last.id);
            }
        }
        Output::Json | Output::Jsonl => print_values(listed, output)?,
    }
    Ok(())
}

fn row(rejection: &Rejection) -> [String; 7] {
    [
        rejection.id.to_string(),
        rejection.source.clone(),
        if rejection.is_verified { "yes" } else { "no" }.to_owned(),
        rejection.reason.clone(),
        format!("{} times", rejection.received_count),
        moment(Some(rejection.last_seen_at)),
        rejection.detail.clone(),
    ]
}
