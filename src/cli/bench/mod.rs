//! `app bench`: how fast this machine, this PostgreSQL and this binary are together.
//!
//! - `scratch`: the server, and a fresh database of our own for every single measurement.
//! - `ingest`: HTTP requests per second, in turns with `pgbench`, which does what the API must do
//!   for a request and nothing else.
//! - `drain`: jobs per second, for the kinds in `kinds`, settlements and `transfers`.
//! - `money`: deposits taken and balances read by HTTP, as users do.
//! - `latency`: from a job's commit to the first line of its handler.
//! - `figures`: medians and spread.
//!
//! Rounds are interleaved (A B, B A, …) and ratios are taken within a round, because machines that
//! are shared drift. Generator, server and PostgreSQL share the cores: that is the whole cost.
//!
//! No database that exists is ever touched: each measurement makes one by a name of its own, which
//! fails if there is one, and drops it afterwards.

use std::process::ExitCode;

use serde_json::json;

use self::scratch::Server;

mod drain;
mod figures;
mod ingest;
mod kinds;
mod latency;
mod money;
mod pgbench;
mod scratch;
mod serve_process;
mod transfers;

const EXAMPLES: &str = "\
Examples:
  app bench ingest                        on a private cluster, fsync on
  app bench money --connections 100
  app bench drain --jobs 200000 --json
  app bench latency
  DATABASE_URL=postgres://… app bench ingest --rounds 5
                                          on your server, in databases of its own

Build with --release first: an unoptimised binary measures nothing.";

/// Measures ingest, money, drain and pickup latency, in scratch databases of its own.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    what: What,
    /// Server to make scratch databases on; without it, a private cluster is started.
    #[arg(long, global = true, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// How often to measure everything; medians and spread are over these.
    #[arg(long, global = true, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Prints one JSON object instead of tables.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// HTTP requests per second, beside pgbench with one equivalent transaction per request.
    Ingest(ingest::Args),
    /// Deposits taken and balances read, by signed-in users.
    Money(money::Args),
    /// Jobs per second, from the first start until the database says that none is left.
    Drain(drain::Args),
    /// From a job's commit to the first line of its handler, one job at a time.
    Latency(latency::Args),
}

/// Measures what `args` ask for, and prints it.
///
/// # Errors
///
/// When there is no server, or something that is measured fails.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if cfg!(debug_assertions) {
        eprintln!("warning: this binary is not optimised; build it with --release");
    }
    let server = Server::start(args.database_url.as_deref()).await?;
    let interrupted = tokio::signal::ctrl_c();
    let measured = tokio::select! {
        measured = measure(&args, &server) => Some(measured),
        _ = interrupted => None,
    };
    server.end().await;
    match measured {
        Some(measured) => measured.map(|()| ExitCode::SUCCESS),
        None => Ok(ExitCode::from(130)),
    }
}

/// What is logged while something is measured: as this process, so trouble only unless a variable
/// asks for more. A line per request would be measured with it.
fn log_filter() -> String {
    let given = ["APP_LOG", "RUST_LOG"].into_iter().find_map(|name| std::env::var(name).ok());
    given.filter(|filter| !filter.trim().is_empty()).unwrap_or_else(|| "warn".to_owned())
}

async fn measure(args: &Args, server: &Server) -> anyhow::Result<()> {
    let configuration = server.configuration().await?;
    if !args.json {
        println!("{configuration}");
    }
    let (settings, results) = match &args.what {
        What::Ingest(ingest) => ingest::run(ingest, server, args.rounds, args.json).await?,
        What::Money(money) => money::run(money, server, args.rounds, args.json).await?,
        What::Drain(drain) => drain::run(drain, server, args.rounds, args.json).await?,
        What::Latency(latency) => latency::run(latency, server, args.rounds, args.json).await?,
    };
    if args.json {
        let all = json!({
            "configuration": configuration,
            "rounds": args.rounds,
            "settings": settings,
            "results": results,
        });
        println!("{all:#}");
    }
    Ok(())
}
