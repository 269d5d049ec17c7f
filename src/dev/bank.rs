//! The bank of `app dev`: simulated in this process, or the one that `APP_BANK_URL` names.
//!
//! A database that `app dev` did not make has no simulated bank: orders may wait in it that only a
//! real one can carry out.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::Args;
use super::database::Database;
use crate::bank::simulator::behaviour::BehaviourSettings;
use crate::bank::simulator::{Simulator, SimulatorArgs};
use crate::serve;

/// The simulated bank's latency here: `app bank` is as slow as a real one, which is too slow to try
/// things out.
const LATENCY: &str = "50ms..300ms";
/// Where there is neither a bank's URL nor a database of our own.
const NO_BANK: &str =
    "none, as the database was given: deposits and withdrawals wait; or --bank-url";
/// The file in the data folder that keeps its books.
pub(super) const BOOKS: &str = "bank.jsonl";

/// The bank that the workers ask.
pub(super) struct Bank {
    /// The place of the bank, for people.
    pub(super) place: String,
    /// Its simulation, unless it is another one.
    pub(super) simulated: Option<SimulatedBank>,
}

impl Bank {
    /// Starts the simulator and has the workers use it, unless they have a bank already or the
    /// database is somebody else's.
    pub(super) async fn open(args: &mut Args, database: &Database) -> anyhow::Result<Self> {
        let named = args.worker.bank.bank_url.as_deref().filter(|url| !url.is_empty());
        if named.is_some() {
            return Ok(Self { place: "the one of APP_BANK_URL".to_owned(), simulated: None });
        }
        let Some(data_dir) = database.data_dir() else {
            return Ok(Self { place: NO_BANK.to_owned(), simulated: None });
        };
        let mut settings = args.simulator.clone();
        settings.behaviour.latency.get_or_insert(LATENCY.parse().expect("a range"));
        settings.data.get_or_insert_with(|| data_dir.join(BOOKS));
        let bank = SimulatedBank::open(settings).await?;
        let place = format!("{}/dials, simulated, with failures on purpose", bank.url());
        args.worker.bank.bank_url = Some(bank.url());
        Ok(Self { place, simulated: Some(bank) })
    }

    /// Stops the simulator, once nobody asks it any more.
    pub(super) async fn close(&self) {
        if let Some(bank) = &self.simulated {
            bank.go_down().await;
        }
    }
}

/// The simulated bank, which can be down for a while.
pub(super) struct SimulatedBank {
    address: SocketAddr,
    settings: SimulatorArgs,
    up: Mutex<Option<(Simulator, CancellationToken)>>,
}

impl SimulatedBank {
    async fn open(mut settings: SimulatorArgs) -> anyhow::Result<Self> {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (simulator, stop) = start(anywhere, &settings).await?;
        // The same key meets the same fate after it was down, too.
        settings.seed = Some(simulator.seed);
        Ok(Self { address: simulator.address, settings, up: Mutex::new(Some((simulator, stop))) })
    }

    /// The URL of it.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// True while connections are taken.
    pub(super) async fn is_up(&self) -> bool {
        self.up.lock().await.is_some()
    }

    /// Takes no connections, and breaks those that there are. The books stay.
    pub(super) async fn go_down(&self) {
        if let Some((simulator, stop)) = self.up.lock().await.take() {
            stop.cancel();
            simulator.stopped().await;
        }
    }

    /// Takes connections again, at the same address and with the same books.
    pub(super) async fn come_up(&self) -> anyhow::Result<()> {
        let mut up = self.up.lock().await;
        if up.is_none() {
            *up = Some(start(self.address, &self.settings).await?);
        }
        Ok(())
    }

    /// Behaves otherwise from now on, and gives the behaviour until now; none while it is down.
    pub(super) async fn change(
        &self,
        to: &BehaviourSettings,
    ) -> anyhow::Result<Option<BehaviourSettings>> {
        match &*self.up.lock().await {
            Some((simulator, _)) => Ok(Some(simulator.change(to)?)),
            None => Ok(None),
        }
    }
}

async fn start(
    address: SocketAddr,
    settings: &SimulatorArgs,
) -> anyhow::Result<(Simulator, CancellationToken)> {
    let stop = CancellationToken::new();
    let listener = serve::bind(address).await?;
    Ok((Simulator::start(listener, settings, stop.clone())?, stop))
}
