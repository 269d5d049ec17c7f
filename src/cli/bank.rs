//! `app bank`: the bank simulator as a process of its own.

use std::net::SocketAddr;

use tokio_util::sync::CancellationToken;

use crate::arguments::parse_listen_address;
use crate::bank::simulator::{Simulator, SimulatorArgs};
use crate::metrics::Metrics;
use crate::probes::{ProbeArgs, Probes};
use crate::serve;
use crate::telemetry;

const EXPLANATION: &str = "\
Rates are shares of all instructions, from 0 to 1, and sum to 1 at the most. What is given holds.
Success, where it is left out, is 0.9 or what the given rates leave, whichever is less; the rest
falls in equal parts on timeout, unavailable and insufficient funds, as far as they are left out.
So without any flag 0.9 succeed and each of these three gets 0.0333; --late-rate 0.3 leaves 0.7 for
success; --success-rate 0.8 --timeout-rate 0 leaves 0.1 each for the other two.

A payment that was decided stays decided: the same Idempotency-Key gets the same answer, with other
content a 409. Dials can be read and turned while it runs; rates not given follow from the others:
  curl http://127.0.0.1:8100/dials
  curl -X PUT http://127.0.0.1:8100/dials -d '{\"cut_body_rate\": 1, \"latency\": \"0s\"}'

Examples:
  app bank
  app bank --success-rate 1 --latency 50ms
  app bank --accept-then-timeout-rate 0.1 --late-rate 0.1 --seed 7 --data bank.jsonl";

/// Plays a bank that fails: takes deposits and withdrawals, answers enquiries, keeps a statement.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXPLANATION)]
pub struct Args {
    /// The address and port to listen on.
    #[arg(long, env = "APP_BANK_SIMULATOR_LISTEN", default_value = "127.0.0.1:8100",
          value_name = "ADDRESS:PORT", value_parser = parse_listen_address)]
    listen: SocketAddr,

    /// Where probes are answered.
    #[command(flatten)]
    probes: ProbeArgs,

    /// The behaviour of the bank.
    #[command(flatten)]
    simulator: SimulatorArgs,
}

/// Runs the simulator until `shutdown` is cancelled.
///
/// # Errors
///
/// When the address is taken, the rates contradict each other or the data file cannot be used.
pub async fn run_command(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listener = serve::bind(args.listen).await?;
    let metrics = Metrics::new();
    let _export = telemetry::export_metrics(&metrics);
    let _answers = match args.probes.probe_listen {
        Some(address) => Some(Probes::new(metrics, shutdown.clone()).listen(address).await?),
        None => None,
    };
    let simulator = Simulator::start(listener, &args.simulator, shutdown)?;
    let (address, seed) = (simulator.address, simulator.seed);
    tracing::info!("the bank simulator is at http://{address}, with seed {seed}");
    simulator.stopped().await;
    Ok(())
}
