//! `surety-bench`: how fast this machine, this PostgreSQL and this binary are together.
//!
//! Forms, one file each:
//!
//! - `ingest`, `money`: HTTP requests per second; ingest in turns with `pgbench`, which does what
//!   the API must do for a request and nothing else.
//! - `enqueue`: jobs that get in per second.
//! - `drain`, `steady`, `latency`: how fast jobs are done; how long they wait at a given rate; how
//!   soon an idle worker begins.
//! - `tell`: how fast webhooks are delivered, and what that costs the settling.
//! - `growth`: all of the product on one database that grows; `reads` are what people look at.
//! - `cost`: what each piece of work takes of processors, log and network.
//! - `nodes`: several processes of each kind on one database.
//! - `soak`: all of the product for a long time, while PostgreSQL crashes.
//!
//! What they share, from the outside in:
//!
//! - `rounds` keeps measurements in turns, `condition_report` says what came out of them,
//!   `figures` are medians, spread and percentiles; a `report` is a table or JSON of them.
//! - `measurement` is one of them: `workers` (or `worker_process`es) run jobs of the `kinds`,
//!   `handling` says how; `conditions` disturb them (`history`, a held snapshot, readers) and
//!   `chaos` breaks something; `gauges` read what the server counts, the `journal` keeps what
//!   handlers say, and the `account` tells what became of every job.
//! - `spending` is what a server and a process have spent, `network` one that takes its time.
//! - `scratch` is the server, with a fresh database of our own for every single measurement;
//!   `filling` and `transfers` enqueue what is to be drained.
//!
//! Rounds are interleaved (A B, B A, …) and ratios are taken within a round, because machines that
//! are shared drift. Generator, server and PostgreSQL share the cores: that is the whole cost.
//!
//! No database that exists is ever touched: each measurement makes one by a name of its own, which
//! fails if there is one, and drops it afterwards.

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use surety::cli::signals;
use surety::process::{self, ProcessSettings};
use surety::telemetry::{DefaultFilter, LogFormat, TelemetrySettings};

use self::scratch::{Counting, Server};

/// The allocator of the binary that is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod account;
mod app_process;
mod chaos;
mod condition_report;
mod conditions;
mod configuration;
mod cost;
mod course;
mod drain;
mod enqueue;
mod figures;
mod filling;
mod gauges;
mod growth;
mod handling;
mod history;
mod http;
mod ingest;
mod journal;
mod kinds;
mod latency;
mod measurement;
mod money;
mod network;
mod nodes;
mod pgbench;
mod reads;
mod report;
mod rounds;
mod scratch;
mod soak;
mod spending;
mod steady;
mod tell;
mod transfers;
mod worker_process;
mod workers;

const EXAMPLES: &str = "\
Examples:
  surety-bench ingest                        on a private cluster, fsync on
  surety-bench money --connections 100
  surety-bench enqueue
  surety-bench drain -n 200000 --json
  surety-bench drain --batch --no-batch --commit per-job,batch --no-history
  surety-bench drain -n 100000 --batch --hold-xmin
  surety-bench drain -n 20000 --chaos worker-kill
  surety-bench steady --rate 2000 --duration 5m --readers 4
  surety-bench latency
  surety-bench latency --full-history 10000000 --scheduled 100000
  surety-bench tell --endpoints 3
  surety-bench growth --to 0,100000,1000000 --finished 10000000
  surety-bench cost --round-trips 0s,200us,1ms,5ms
  surety-bench nodes --nodes 1x1,4x4,4x16
  surety-bench soak --rate 1000 --duration 75m
  APP_THREADS=2 surety-bench drain           each process on two threads, not half of the cores
  DATABASE_URL=postgres://… surety-bench ingest --rounds 5
                                          on your server, in databases of its own

Build with --release first: an unoptimised binary measures nothing.";

const REPORTS: &str = "\
What is reported:
  enqueue → start, → done   from just before a job's enqueue (drain: from the start of the workers)
                            to the first line of its handler, and to the commit of its completion
  buffers per claimed job   pages that claim statements looked at, cached or not, as counted by
                            pg_stat_statements; where the server does not load that, pages of
                            queue.jobs and its indexes that any statement looked at. Over all
                            claimed jobs, and over the first and the last tenth of them
  dead tuples               the most that queue.jobs had, as the server counts them
  lost                      enqueued jobs that are neither completed nor waiting nor discarded
  run twice                 effects beyond the first of a job: with --chaos rows that its handler
                            wrote in the transaction that completed it, else completed attempts
  stale completions refused completions that the fence refused, as the handlers were told
  handlers called again     calls beyond the first for a job; worker processes tell of each call
                            by a pipe before they go on, so that kill -9 hides none
  held when struck          jobs running in workers that were killed or frozen, and how many of
                            them were not done one and a half leases (45 s) later";

/// Measures ingest, money and the queue, in fair weather and foul, in scratch databases of its own.
#[derive(clap::Parser, Debug)]
#[command(
    name = "surety-bench",
    version,
    after_help = EXAMPLES,
    arg_required_else_help = true,
    max_term_width = 100
)]
struct Args {
    #[command(subcommand)]
    what: What,
    /// Server to make scratch databases on; without it, a private cluster is started.
    #[arg(long, global = true, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Rounds of measurement; medians and spread are over these.
    #[arg(long, global = true, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Prints one JSON object instead of tables.
    #[arg(long, global = true)]
    json: bool,
    /// The threads of this process. By the environment alone, so that its children have as many.
    #[arg(long, global = true, env = "APP_THREADS", hide = true,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    #[command(flatten)]
    Form(Form),
    /// A worker in a process of its own, for --chaos.
    #[command(hide = true)]
    Worker(worker_process::Args),
}

/// The measurements that there are.
#[derive(clap::Subcommand, Debug)]
enum Form {
    /// HTTP requests per second, beside pgbench with one equivalent transaction per request.
    Ingest(ingest::Args),
    /// Deposits taken and balances read, by signed-in users.
    Money(money::Args),
    /// Jobs that get in per second: one per transaction, and many per statement.
    Enqueue(enqueue::Args),
    /// Jobs per second, from the first start until the database says that none is left.
    #[command(after_help = REPORTS)]
    Drain(drain::Args),
    /// The wait of jobs that come at a fixed rate.
    #[command(after_help = REPORTS)]
    Steady(steady::Args),
    /// From a job's commit to the first line of its handler, one job at a time.
    #[command(after_help = REPORTS)]
    Latency(latency::Args),
    /// Deliveries per second by webhooks, and what telling costs the settling.
    Tell(tell::Args),
    /// The same measurements of one database that grows, step by step.
    Growth(growth::Args),
    /// The cost of each kind of work: processors, log, network.
    Cost(cost::Args),
    /// Several `app serve` and `app work` on one database: rates, fairness, sessions, waits.
    Nodes(nodes::Args),
    /// Webhooks at a fixed rate for long, settled and told, while PostgreSQL crashes; run once.
    Soak(soak::Args),
}

impl Form {
    /// Checks that these conditions can be measured at all, before a server is started for it.
    fn check(&self, has_private_server: bool) -> anyhow::Result<()> {
        match self {
            Self::Drain(drain) => drain.check(has_private_server),
            Self::Steady(steady) => steady.check(has_private_server),
            Self::Latency(latency) => latency.check(has_private_server),
            Self::Ingest(_) | Self::Money(_) | Self::Enqueue(_) | Self::Tell(_) | Self::Cost(_) => {
                Ok(())
            }
            Self::Nodes(nodes) => nodes.check(has_private_server),
            Self::Soak(soak) => soak.check(has_private_server),
            Self::Growth(growth) => growth.check(),
        }
    }

    fn counting(&self) -> Counting {
        match self {
            Self::Ingest(_) | Self::Money(_) | Self::Growth(_) | Self::Nodes(_) | Self::Soak(_) => {
                Counting::AsShipped
            }
            Self::Enqueue(_)
            | Self::Drain(_)
            | Self::Steady(_)
            | Self::Latency(_)
            | Self::Tell(_)
            | Self::Cost(_) => Counting::Statements,
        }
    }
}

fn main() -> ExitCode {
    process::run(|| {
        let telemetry = TelemetrySettings {
            service_name: "surety-bench",
            log_format: LogFormat::default(),
            default_filter: DefaultFilter::Command,
        };
        let args = Args::parse();
        (ProcessSettings { telemetry, threads: args.threads }, run(args))
    })
}

/// Measures what `args` ask for, and prints it.
async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let form = match &args.what {
        What::Form(form) => form,
        What::Worker(worker) => {
            worker_process::run(worker, args.database_url.as_deref()).await?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    if let Err(error) = form.check(args.database_url.is_none()) {
        Args::command().error(ErrorKind::ArgumentConflict, error).exit();
    }
    if cfg!(debug_assertions) {
        eprintln!("warning: this binary is not optimised; build it with --release");
    }
    let server = Server::start(args.database_url.as_deref(), form.counting()).await?;
    // A second signal ends the process at once, and leaves the server's files behind.
    let stopped = signals::shutdown()?;
    let measured = stopped.run_until_cancelled(measure(form, &args, &server)).await;
    server.end().await;
    match measured {
        Some(measured) => measured.map(|()| ExitCode::SUCCESS),
        None => Ok(ExitCode::from(130)),
    }
}

/// The filter of the log during a measurement: as this process, so trouble only unless a variable
/// asks for more. A line per request would be measured with it.
fn log_filter() -> String {
    log_filter_or("warn")
}

/// The filter that a variable asks for, or else this one.
fn log_filter_or(default: &str) -> String {
    let given = ["APP_LOG", "RUST_LOG"].into_iter().find_map(|name| std::env::var(name).ok());
    given.filter(|filter| !filter.trim().is_empty()).unwrap_or_else(|| default.to_owned())
}

async fn measure(form: &Form, args: &Args, server: &Server) -> anyhow::Result<()> {
    let configuration = server.configuration().await?;
    if !args.json {
        println!("{configuration}");
    }
    let rounds = args.rounds;
    let report = match form {
        Form::Ingest(ingest) => ingest::run(ingest, server, rounds).await?,
        Form::Money(money) => money::run(money, server, rounds).await?,
        Form::Enqueue(enqueue) => enqueue::run(enqueue, server, rounds).await?,
        Form::Drain(drain) => drain::run(drain, server, rounds).await?,
        Form::Steady(steady) => steady::run(steady, server, rounds).await?,
        Form::Latency(latency) => latency::run(latency, server, rounds).await?,
        Form::Tell(tell) => tell::run(tell, server, rounds).await?,
        Form::Growth(growth) => growth::run(growth, server, rounds).await?,
        Form::Cost(cost) => cost::run(cost, server, rounds).await?,
        Form::Nodes(nodes) => nodes::run(nodes, server, rounds).await?,
        Form::Soak(soak) => soak::run(soak, server).await?,
    };
    if args.json {
        let all = serde_json::json!({
            "configuration": configuration,
            "rounds": rounds,
            "settings": report.settings,
            "results": report.results,
        });
        println!("{all:#}");
    } else {
        print!("{}", report.table);
    }
    Ok(())
}
