//! `app bank`: a bank that fails on demand, as a real HTTP server.
//!
//! - [`behaviour`]: the ways in which it treats instructions, and the share of each.
//! - `books`: its decisions, once per effect key, in a file if need be.
//! - `treatment`: the treatment of an instruction, by settings and by chance.
//! - `server`: connections, routes, and the answers that no honest server would give.
//! - `twice_io`: bytes that are written a second time.
//!
//! Whatever it does to an answer, its books are right: the enquiry and the statement tell the
//! truth. It decides the moment that it has read an instruction and answers later, so that whoever
//! hangs up, or kills it with signal 9, finds the payment made.
//!
//! How it behaves towards a key follows from its seed, the key and how often the key was sent: the
//! order in which requests arrive changes nothing.
//!
//! Deliberately absent: accounts and balances (funds are insufficient when the settings say so),
//! and failing enquiries: stop the process for these.

pub mod behaviour;
mod books;
mod server;
mod treatment;
mod twice_io;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::behaviour::{BehaviourError, BehaviourSettings, ResolvedBehaviour};
use self::books::Books;
use self::treatment::SimulatorState;

/// Settings of the simulator; shared by `app bank` and whoever embeds it.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct SimulatorArgs {
    /// Behaviour at first.
    #[command(flatten)]
    pub behaviour: BehaviourSettings,

    /// Seed of chance: with the same seed, the same key meets the same fate. [default: random]
    #[arg(long, env = "APP_BANK_SIMULATOR_SEED")]
    pub seed: Option<u64>,

    /// A file that keeps what was decided, one JSON object per line, so that it survives a restart
    /// and a kill. [default: none]
    #[arg(long, env = "APP_BANK_SIMULATOR_DATA", value_name = "FILE")]
    pub data: Option<PathBuf>,
}

impl SimulatorArgs {
    /// Fails when the settings contradict each other.
    ///
    /// # Errors
    ///
    /// [`BehaviourError`].
    pub fn check(&self) -> Result<(), BehaviourError> {
        ResolvedBehaviour::default().with(&self.behaviour).map(drop)
    }
}

/// The reason that the simulator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// The settings of its behaviour contradict each other.
    #[error("the bank simulator cannot be set up")]
    BehaviourSettings(#[from] BehaviourError),
    /// The socket does not listen.
    #[error("the bank simulator does not listen")]
    Address(#[source] io::Error),
    /// The file of decisions cannot be used.
    #[error("the data of the bank simulator cannot be kept in {}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// A running simulator. It runs on when this is dropped.
#[derive(Debug)]
pub struct Simulator {
    /// The address that the simulator listens on.
    pub address: SocketAddr,
    /// The seed of chance.
    pub seed: u64,
    state: Arc<SimulatorState>,
    serving: JoinHandle<()>,
}

impl Simulator {
    /// Starts it; it stops when `shutdown` is cancelled, without answering what it then holds.
    ///
    /// # Errors
    ///
    /// [`SimulatorError`].
    pub fn start(
        listener: TcpListener,
        args: &SimulatorArgs,
        shutdown: CancellationToken,
    ) -> Result<Self, SimulatorError> {
        let behaviour = ResolvedBehaviour::default().with(&args.behaviour)?;
        let books = match &args.data {
            None => Books::default(),
            Some(path) => Books::open(path)
                .map_err(|source| SimulatorError::Data { path: path.clone(), source })?,
        };
        let address = listener.local_addr().map_err(SimulatorError::Address)?;
        let seed = args.seed.unwrap_or_else(|| u64::from(fastrand::u32(..)));
        let state = Arc::new(SimulatorState {
            seed,
            behaviour: Mutex::new(behaviour),
            books: Mutex::new(books),
            shutdown,
        });
        let serving = tokio::spawn(server::serve(listener, Arc::clone(&state)));
        Ok(Self { address, seed, state, serving })
    }

    /// Behaves otherwise from now on, and gives the behaviour until now.
    ///
    /// # Errors
    ///
    /// When the settings contradict each other; then nothing changes.
    pub fn change(&self, to: &BehaviourSettings) -> Result<BehaviourSettings, BehaviourError> {
        let mut behaviour = self.state.behaviour();
        let before = behaviour.settings().clone();
        *behaviour = behaviour.with(to)?;
        Ok(before)
    }

    /// Waits until it has stopped.
    pub async fn stopped(self) {
        // It panics only when something in here is wrong, and then has said so.
        let _ = self.serving.await;
    }
}
