//! The bank of `app dev`: simulated in this process, or the one that `APP_BANK_URL` names.
//!
//! A database that `app dev` did not make has no simulated bank: orders may wait in it that only a
//! real one can carry out.

use std::net::{Ipv4Addr, SocketAddr};

use tokio_util::sync::CancellationToken;

use super::Args;
use super::database::Database;
use crate::bank::simulator::Simulator;
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
    simulator: Option<(Simulator, CancellationToken)>,
}

impl Bank {
    /// Starts the simulator and has the workers use it, unless they have a bank already or the
    /// database is somebody else's.
    pub(super) async fn open(args: &mut Args, database: &Database) -> anyhow::Result<Self> {
        let named = args.worker.bank.bank_url.as_deref().filter(|url| !url.is_empty());
        if named.is_some() {
            return Ok(Self { place: "the one of APP_BANK_URL".to_owned(), simulator: None });
        }
        let Some(data_dir) = database.data_dir() else {
            return Ok(Self { place: NO_BANK.to_owned(), simulator: None });
        };
        let mut settings = args.simulator.clone();
        settings.behaviour.latency.get_or_insert(LATENCY.parse().expect("a range"));
        settings.data.get_or_insert_with(|| data_dir.join(BOOKS));
        let stop = CancellationToken::new();
        let listener = serve::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let simulator = Simulator::start(listener, &settings, stop.clone())?;
        let url = format!("http://{}", simulator.address);
        let place = format!("{url}/dials, simulated, with failures on purpose");
        args.worker.bank.bank_url = Some(url);
        Ok(Self { place, simulator: Some((simulator, stop)) })
    }

    /// Stops the simulator, once nobody asks it any more.
    pub(super) async fn close(self) {
        if let Some((simulator, stop)) = self.simulator {
            stop.cancel();
            simulator.stopped().await;
        }
    }
}
