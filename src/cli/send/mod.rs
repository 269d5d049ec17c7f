//! `app send`: sends transactions to a running API, as a payment provider does.
//!
//! - `events`: what is sent: made-up transactions or the lines of a file, and which of them twice.
//! - `signature`: proves who sends it.
//! - `client`: one connection.
//! - `load`: all connections, their pace and their patience; `surety-bench ingest` uses it too.
//! - `tally`: what came of it.
//!
//! Deliberately absent: bad input on purpose (the tests have a table of it), and any look into the
//! database: this is what the world sees.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::client::Target;
use self::events::{Plan, Source};
use self::load::Load;
use self::signature::Signer;
use self::tally::Tally;
use super::output::Output;
use crate::arguments::read_value;

pub mod client;
pub mod events;
pub mod load;
mod signature;
pub mod tally;

const EXAMPLES: &str = "\
Examples:
  app send                                        1,000 made-up transactions
  app send --count 50000 --rate 500               at a steady pace
  app send --count 1000 --duplicates 5%           and 50 of them a second time
  app send --file transactions.jsonl              the bodies of a file, one per line
  jq -c '.[]' export.json | app send --file -     the same from standard input

Exit codes: 0 all taken, 1 something was not, 2 usage, 130 interrupted.";

/// Plays a payment provider: sends transactions to a running API and says what came of them.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The receiver's URL; without a path, /v1/webhooks/transactions.
    #[arg(long, env = "APP_SEND_URL", default_value = "http://127.0.0.1:8000")]
    url: String,

    /// The number of different transactions [default: 1000, or every line of the file]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// The number or share of them to send again, byte by byte, such as 5%.
    ///
    /// They come on top of --count, spread evenly, each soon after the one it repeats.
    #[arg(long, value_name = "N|P%", default_value = "0")]
    duplicates: Repeats,

    /// Requests begun per second, all connections together [default: as fast as answers come]
    ///
    /// With a rate, latency counts from when a request was due, so that waiting for a slow API is
    /// not left out.
    #[arg(long, value_name = "PER_SECOND", value_parser = parse_rate)]
    rate: Option<f64>,

    /// Connections, each with one request at a time.
    #[arg(long, value_name = "N", default_value_t = 16,
          value_parser = clap::value_parser!(u16).range(1..=4096))]
    concurrency: u16,

    /// Bodies to send as they are, one per line; - is standard input.
    #[arg(long, value_name = "JSONL")]
    file: Option<PathBuf>,

    /// Signs by Standard Webhooks with this secret (whsec_…); of several, the first.
    ///
    /// Better by environment or file: other users of the machine can see a command's arguments.
    #[arg(
        long,
        env = "APP_WEBHOOK_SECRETS",
        hide_env_values = true,
        conflicts_with = "secret_file"
    )]
    secret: Option<String>,

    /// File that holds the secret.
    #[arg(long, env = "APP_WEBHOOK_SECRETS_FILE", value_name = "FILE")]
    secret_file: Option<PathBuf>,

    /// Adds signatures v1a by this key (whsk_…), for receivers that have the public one.
    #[arg(long, env = "APP_SEND_SIGNING_KEY", hide_env_values = true, value_name = "KEY")]
    signing_key: Option<String>,

    /// The seed of the made-up transactions: the same one sends the same ones [default:
    /// random]
    #[arg(long)]
    seed: Option<u64>,

    /// Retries of an event after a 5xx, a 429 or no answer at all.
    #[arg(long, value_name = "N", default_value_t = 10)]
    retries: u32,

    /// Sends every event once, whatever comes back.
    #[arg(long, conflicts_with = "retries")]
    no_retry: bool,

    /// The longest time to wait for an answer.
    #[arg(long, value_name = "DURATION", default_value = "30s",
          value_parser = crate::arguments::parse_duration)]
    timeout: Duration,

    /// The output format of the result.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Sends what `args` ask for, and prints what came of it.
///
/// # Errors
///
/// When nothing could be sent: no such file, no such secret, nobody at the URL.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let source = source(&args)?;
    let plan = plan(&args, &source);
    let load = load(&args)?;
    let url = load.target.url();
    load.target.reach().await.with_context(|| format!("cannot reach {url}"))?;

    let stop = CancellationToken::new();
    let progress = progress(plan.requests());
    tokio::spawn(stop_on_ctrl_c(stop.clone()));
    let tally = load.run(source, plan, progress.clone(), stop.clone()).await?;
    progress.finish_and_clear();

    match args.output {
        Output::Table => print!("{}", table(&tally, &url, &args, plan.seed)),
        Output::Json | Output::Jsonl => println!("{}", json(&tally, &url, &args, plan.seed)),
    }
    Ok(match (stop.is_cancelled(), tally.failed() + tally.conflicts) {
        (true, _) => ExitCode::from(130),
        (false, 0) => ExitCode::SUCCESS,
        (false, _) => ExitCode::FAILURE,
    })
}

fn source(args: &Args) -> anyhow::Result<Source> {
    let Some(path) = &args.file else { return Ok(Source::Generated) };
    let mut text = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().read_to_end(&mut text).context("cannot read standard input")?;
    } else {
        text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    }
    let source = Source::from_text(text);
    anyhow::ensure!(source.lines() != Some(0), "{} has no lines to send", path.display());
    Ok(source)
}

fn plan(args: &Args, source: &Source) -> Plan {
    let firsts = match (source.lines(), args.count) {
        (Some(lines), Some(count)) => lines.min(count),
        (Some(lines), None) => lines,
        (None, count) => count.unwrap_or(1_000),
    };
    let seed = args.seed.unwrap_or_else(|| u64::from(fastrand::u32(..)));
    Plan { firsts, repeats: args.duplicates.of(firsts), seed }
}

fn load(args: &Args) -> anyhow::Result<Load> {
    let secret = match &args.secret_file {
        Some(path) => Some(
            read_value(path)
                .context("the file that APP_WEBHOOK_SECRETS_FILE names cannot be read")?,
        ),
        None => args.secret.clone(),
    };
    Ok(Load {
        target: Target::parse(&args.url, args.timeout)?,
        connections: usize::from(args.concurrency),
        rate: args.rate,
        retries: if args.no_retry { 0 } else { args.retries },
        signer: Signer::of(secret.as_deref(), args.signing_key.as_deref())?,
    })
}

/// A bar on a terminal, and nothing anywhere else.
fn progress(requests: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{bar:40} {human_pos}/{human_len}  {per_sec}  {eta} left")
            .expect("the template is well formed");
    ProgressBar::new(requests).with_style(style)
}

async fn stop_on_ctrl_c(stop: CancellationToken) {
    // Without a signal handler the default stays: the process ends at once.
    if tokio::signal::ctrl_c().await.is_ok() {
        stop.cancel();
    }
}

fn table(tally: &Tally, url: &str, args: &Args, seed: u64) -> String {
    let mut lines = vec![
        format!(
            "sent {} events to {url} in {:.2} s ({:.0}/s, {} connections)",
            tally.finished(),
            tally.elapsed.as_secs_f64(),
            tally.rate(),
            args.concurrency,
        ),
        format!("  accepted   {:>8}", tally.accepted),
        format!("  duplicate  {:>8}   sent before, and taken as such", tally.duplicates),
        format!("  conflict   {:>8}   409: known with other content", tally.conflicts),
        format!("  failed     {:>8}", tally.failed()),
    ];
    lines.extend(tally.failures.iter().map(|(reason, failures)| {
        format!("    {:>6} × {reason}   {}", failures.count, failures.example.trim())
    }));
    lines.push(format!("  retries    {:>8}", tally.retries));
    let [p50, p95, p99, max] = PERCENTILES.map(|percentile| tally.latency_ms(percentile));
    lines.push(format!("  latency    p50 {p50:.1}  p95 {p95:.1}  p99 {p99:.1}  max {max:.1} ms"));
    if args.file.is_none() {
        lines
            .push(format!("  seed       {seed} (--seed {seed} sends the same transactions again)"));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Half, most, nearly all, all.
const PERCENTILES: [f64; 4] = [50.0, 95.0, 99.0, 100.0];

fn json(tally: &Tally, url: &str, args: &Args, seed: u64) -> serde_json::Value {
    let [p50, p95, p99, max] = PERCENTILES.map(|percentile| tally.latency_ms(percentile));
    json!({
        "url": url,
        "seed": seed,
        "connections": args.concurrency,
        "events": tally.finished(),
        "accepted": tally.accepted,
        "duplicates": tally.duplicates,
        "conflicts": tally.conflicts,
        "failed": tally.failed(),
        "failures": tally.failures,
        "retries": tally.retries,
        "duration_ms": tally.elapsed.as_millis() as u64,
        "events_per_second": tally.rate(),
        "latency_ms": { "p50": p50, "p95": p95, "p99": p99, "max": max },
    })
}

/// The number of events that are sent again.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Repeats {
    Number(u64),
    Percent(f64),
}

impl Repeats {
    fn of(self, firsts: u64) -> u64 {
        match self {
            Self::Number(number) => number,
            Self::Percent(percent) => (firsts as f64 * percent / 100.0).round() as u64,
        }
    }
}

impl FromStr for Repeats {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || format!("'{text}' is neither a number such as 50 nor a share such as 5%");
        let Some(percent) = text.strip_suffix('%') else {
            return text.parse().map(Self::Number).map_err(|_| refused());
        };
        match percent.trim().parse::<f64>() {
            Ok(percent) if (0.0..=1_000.0).contains(&percent) => Ok(Self::Percent(percent)),
            _ => Err(refused()),
        }
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
        _ => Err("a rate is a number of requests per second above 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_a_number_or_a_share() {
        assert_eq!("50".parse(), Ok(Repeats::Number(50)));
        assert_eq!("2.5%".parse::<Repeats>().map(|repeats| repeats.of(1_000)), Ok(25));
        for wrong in ["", "%", "-1", "-1%", "0.05", "NaN%", "five"] {
            assert!(wrong.parse::<Repeats>().is_err(), "{wrong}");
        }
    }
}
