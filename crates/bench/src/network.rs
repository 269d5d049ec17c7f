//! A network between processes and PostgreSQL that takes its time: a relay on loopback which keeps
//! every byte back for half a round trip, in both directions, however many are under way.
//!
//! Threads and no tasks: the timer of the runtime counts in milliseconds, and this in microseconds.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::str::FromStr as _;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use sqlx::postgres::PgConnectOptions;

use super::scratch::at_port;

/// The bytes that are read at once.
const CHUNK: usize = 64 * 1024;

/// The URL of the same database by a network with this round trip; as it is for none.
///
/// The relay ends with this process.
pub(crate) fn behind(url: &str, round_trip: Duration) -> anyhow::Result<String> {
    if round_trip.is_zero() {
        return Ok(url.to_owned());
    }
    let server = PgConnectOptions::from_str(url)?;
    let server = format!("{}:{}", server.get_host(), server.get_port());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr().map(|address: SocketAddr| address.port())?;
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(client) = client else { return };
            // Whoever connects sees that nobody is there.
            let Ok(server) = TcpStream::connect(&server) else { continue };
            // What cannot be relayed is closed, which both ends see.
            let _ = relay(&client, &server, round_trip / 2)
                .and_then(|()| relay(&server, &client, round_trip / 2));
        }
    });
    at_port(url, port).context("the database is not reached by TCP")
}

/// Sends on what comes from one to the other, so much later.
fn relay(from: &TcpStream, to: &TcpStream, delay: Duration) -> std::io::Result<()> {
    to.set_nodelay(true)?;
    let (from, to) = (from.try_clone()?, to.try_clone()?);
    let (sender, under_way) = channel();
    std::thread::spawn(move || take(from, &sender, delay));
    std::thread::spawn(move || deliver(&under_way, to));
    Ok(())
}

fn take(mut from: TcpStream, under_way: &Sender<(Instant, Vec<u8>)>, delay: Duration) {
    let mut bytes = vec![0; CHUNK];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if under_way.send((Instant::now() + delay, bytes[..count].to_vec())).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Read);
}

fn deliver(under_way: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    // SAFETY: the call takes numbers and touches no memory of ours.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
    while let Ok((at, bytes)) = under_way.recv() {
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
