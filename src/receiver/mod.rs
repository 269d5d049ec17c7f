//! `app listen`: a receiver of webhooks, for people who build one, and one that treats senders
//! badly, for people who build those: it speaks Standard Webhooks and nothing of ours, so any
//! sender can be tried with it.
//!
//! - [`misbehaviour`]: the ways in which it treats a sender badly.
//! - `server`: connections, verification, answers.
//! - `hostile_io`: bytes that no HTTP library would write.
//! - `forward`: the receiver behind it, if there is one.
//!
//! Deliberately absent: printing. Whoever starts it gets each delivery as a [`Received`].

mod forward;
mod hostile_io;
pub mod misbehaviour;
mod server;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::forward::Forwarder;
pub use self::misbehaviour::Misbehaviour;
use crate::deliveries::TargetUrl;
use crate::standard_webhooks::Verifier;

/// Ids that are remembered, to number the attempts.
const MAX_REMEMBERED: usize = 100_000;
/// Deliveries that wait to be printed.
const MAX_WAITING: usize = 1_024;

/// The settings of a receiver.
#[derive(Clone)]
pub struct ReceiverSettings {
    /// Believes a sender, or not; an open one believes everybody.
    pub verifier: Verifier,
    /// The receiver that gets what is believed, and whose answer is ours.
    pub forward_to: Option<TargetUrl>,
    /// The misbehaviours to choose from, by chance; without any, failing means 500.
    pub misbehaviours: Vec<Misbehaviour>,
    /// The share of deliveries that are treated badly, from 0 to 1.
    pub fail_rate: f64,
    /// The seed of chance.
    pub seed: u64,
}

/// A delivery that came.
#[derive(Clone, Debug, Serialize)]
pub struct Received {
    /// The moment at which all of it was there.
    #[serde(with = "time::serde::rfc3339")]
    pub received_at: OffsetDateTime,
    /// The path, and the query, that it was sent to.
    pub path: String,
    /// `webhook-id`, as it came; empty without one.
    pub id: String,
    /// The number of times that this id came, this one included.
    pub attempt: u32,
    /// `webhook-timestamp`, as it came; empty without one.
    pub timestamp: String,
    /// The member `type` of the body.
    pub event_type: Option<String>,
    /// The belief in it.
    pub verdict: Verdict,
    /// The reason that it is not.
    pub doubt: Option<String>,
    /// The treatment: a status, or how it is treated badly.
    pub answer: String,
    /// The size of the body.
    pub body_bytes: usize,
    /// The body; U+FFFD for what is not UTF-8.
    pub body: String,
}

/// The belief in a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The signature fits.
    Verified,
    /// There is nothing to verify with.
    Unverified,
    /// The signature does not fit, or is not fresh.
    Refused,
}

/// A running receiver. It runs on when this is dropped.
#[derive(Debug)]
pub struct Receiver {
    /// The address that it listens on.
    pub address: SocketAddr,
    serving: JoinHandle<()>,
}

/// The state that all connections share.
struct ReceiverState {
    settings: ReceiverSettings,
    forwarder: Option<Forwarder>,
    attempts: Mutex<HashMap<String, u32>>,
    chance: Mutex<fastrand::Rng>,
    received: mpsc::Sender<Received>,
    shutdown: CancellationToken,
}

impl Receiver {
    /// Starts it. It stops when `shutdown` is cancelled, without answering what it then holds, and
    /// the channel ends with it.
    ///
    /// # Errors
    ///
    /// When the socket does not listen, or TLS cannot be set up to forward.
    pub fn start(
        listener: TcpListener,
        settings: ReceiverSettings,
        shutdown: CancellationToken,
    ) -> io::Result<(Self, mpsc::Receiver<Received>)> {
        let address = listener.local_addr()?;
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        let forwarder = settings.forward_to.clone().map(Forwarder::new).transpose()?;
        let state = ReceiverState {
            chance: Mutex::new(fastrand::Rng::with_seed(settings.seed)),
            settings,
            forwarder,
            attempts: Mutex::default(),
            received: sender,
            shutdown,
        };
        let serving = tokio::spawn(server::serve(listener, Arc::new(state)));
        Ok((Self { address, serving }, receiver))
    }

    /// Waits until it has stopped.
    pub async fn stopped(self) {
        // It panics only when something in here is wrong, and then has said so.
        let _ = self.serving.await;
    }
}

impl ReceiverState {
    /// The misbehaviour that is next, if it is the turn of one.
    fn next_misbehaviour(&self) -> Option<Misbehaviour> {
        let ReceiverSettings { misbehaviours, fail_rate, .. } = &self.settings;
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        if chance.f64() >= *fail_rate {
            return None;
        }
        let chosen = chance.choice(misbehaviours).cloned();
        Some(chosen.unwrap_or(Misbehaviour::Status(500)))
    }

    /// The number of times that this id came.
    fn count(&self, id: &str) -> u32 {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if attempts.len() >= MAX_REMEMBERED {
            attempts.clear();
        }
        let count = attempts.entry(id.to_owned()).or_default();
        *count = count.saturating_add(1);
        *count
    }
}
