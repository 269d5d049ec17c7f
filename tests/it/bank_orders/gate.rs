//! A stretch of the wire between our workers and the bank, on which calls can be held.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::support::eventually;

/// How long the bank has to read what came from a client that has hung up since.
const LINGER: Duration = Duration::from_secs(2);

/// Which calls do not get through for now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hold {
    Nothing,
    Sends,
    Enquiries,
}

/// The wire. It is cut when this value is dropped.
pub(super) struct Gate {
    /// Where the bank seems to be.
    pub(super) url: String,
    state: Arc<Mutex<State>>,
    accepting: AbortHandle,
}

struct State {
    bank: SocketAddr,
    hold: Hold,
    /// To be told whether they are let through.
    held: Vec<oneshot::Sender<()>>,
}

impl Gate {
    /// A wire to the bank at this URL, which lets everything through.
    pub(super) async fn to(bank_url: &str) -> Self {
        let bank = bank_url.trim_start_matches("http://").parse().unwrap();
        let state = Arc::new(Mutex::new(State { bank, hold: Hold::Nothing, held: Vec::new() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state))).abort_handle();
        Self { url, state, accepting }
    }

    /// Has the wire lead to another bank from now on.
    pub(super) fn lead_to(&self, bank_url: &str) {
        self.state.lock().unwrap().bank = bank_url.trim_start_matches("http://").parse().unwrap();
    }

    /// Holds these calls from now on, and no others.
    pub(super) fn hold(&self, hold: Hold) {
        self.state.lock().unwrap().hold = hold;
    }

    /// Waits until so many calls are held.
    pub(super) async fn wait_until_held(&self, calls: usize) {
        let held = || self.state.lock().unwrap().held.len();
        eventually("calls are held", || held() >= calls).await;
    }

    /// Lets those through that are held, whether their callers still wait or not.
    pub(super) fn forward_held(&self) {
        for held in self.state.lock().unwrap().held.drain(..) {
            let _ = held.send(());
        }
    }

    /// Cuts off those that are held: the bank will never see them.
    pub(super) fn drop_held(&self) {
        self.state.lock().unwrap().held.clear();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        tokio::spawn(carry(client, Arc::clone(&state)));
    }
}

async fn carry(client: TcpStream, state: Arc<Mutex<State>>) {
    let mut method = [0];
    if !matches!(client.peek(&mut method).await, Ok(1)) {
        return;
    }
    let held = {
        let mut state = state.lock().unwrap();
        let is_held = match state.hold {
            Hold::Nothing => false,
            Hold::Sends => method == *b"P",
            Hold::Enquiries => method == *b"G",
        };
        is_held.then(|| {
            let (release, released) = oneshot::channel();
            state.held.push(release);
            released
        })
    };
    if let Some(released) = held
        && released.await.is_err()
    {
        return;
    }
    let bank = state.lock().unwrap().bank;
    if let Ok(bank) = TcpStream::connect(bank).await {
        exchange(client, bank).await;
    }
}

/// The bank is not told that a client has hung up: it decides on what it got.
async fn exchange(client: TcpStream, bank: TcpStream) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_bank, mut to_bank) = bank.into_split();
    let out = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_bank).await;
        tokio::time::sleep(LINGER).await;
    };
    tokio::select! {
        () = out => {}
        _ = tokio::io::copy(&mut from_bank, &mut to_client) => {}
    }
}
