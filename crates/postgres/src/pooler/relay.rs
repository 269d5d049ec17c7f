//! The relay: a thread with a socket that only this process may use, and a connection to the pooler
//! for each of the driver's.
//!
//! It has a runtime of its own, so that a job that blocks the program's cannot stop the statements
//! that keep its lease.

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf,
};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use uuid::Uuid;

use super::SOCKET_PREFIX;
use super::rewriter::Rewriter;
use super::startup;
use super::upstream::{Connection, Upstream};
use super::wire::{Garbled, Message, put_error};

/// The largest startup packet that PostgreSQL takes.
const MAX_STARTUP_BYTES: usize = 10_000;

const READ_BYTES: usize = 16 * 1024;

/// A running relay.
pub(super) struct Relay {
    folder: PathBuf,
}

impl Relay {
    /// Starts a relay to `upstream`. The driver makes the port a part of a socket's name.
    pub(super) fn start(upstream: Upstream, port: u16) -> io::Result<Self> {
        let (folder, listener) = listen(port)?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("pooler-relay".into()).spawn(move || {
            runtime.block_on(async {
                if let Err(error) = accept(listener, Arc::new(upstream)).await {
                    tracing::error!(%error, "the way to the connection pooler is closed");
                }
            });
        })?;
        Ok(Self { folder })
    }

    /// The path that the driver takes for the folder of the socket.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// A socket without a file: it needs no writable folder, and nothing of it is left behind.
#[cfg(target_os = "linux")]
fn listen(port: u16) -> io::Result<(PathBuf, StdListener)> {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::SocketAddr;

    let name = format!("{SOCKET_PREFIX}{}", Uuid::new_v4().simple());
    let address = SocketAddr::from_abstract_name(format!("{name}/.s.PGSQL.{port}"))?;
    Ok((PathBuf::from(format!("\0{name}")), StdListener::bind_addr(&address)?))
}

/// A socket in a folder that only we may enter.
#[cfg(not(target_os = "linux"))]
fn listen(port: u16) -> io::Result<(PathBuf, StdListener)> {
    use std::os::unix::fs::DirBuilderExt as _;

    let name = format!("{SOCKET_PREFIX}{}", &Uuid::new_v4().simple().to_string()[..12]);
    let folder = std::env::temp_dir().join(name);
    std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
    let listener = StdListener::bind(folder.join(format!(".s.PGSQL.{port}")))?;
    Ok((folder, listener))
}

async fn accept(listener: StdListener, upstream: Arc<Upstream>) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    loop {
        let (driver, _) = listener.accept().await?;
        if !is_ours(&driver) {
            continue;
        }
        let upstream = Arc::clone(&upstream);
        tokio::spawn(async move {
            if let Err(error) = relay(driver, &upstream).await {
                tracing::debug!(%error, "a connection through the pooler ended");
            }
        });
    }
}

/// Tells whether this process made the connection. Others would gain nothing that they could not
/// have from the pooler, save our certificate.
fn is_ours(driver: &UnixStream) -> bool {
    let Ok(peer) = driver.peer_cred() else { return false };
    peer.pid().and_then(|pid| u32::try_from(pid).ok()) == Some(std::process::id())
}

async fn relay(mut driver: UnixStream, upstream: &Upstream) -> io::Result<()> {
    let (packet, settings) = startup::rewrite(read_startup(&mut driver).await?).map_err(garbled)?;
    let mut server = match upstream.connect().await {
        Ok(server) => server,
        Err(error) => {
            refuse(&mut driver, &error).await?;
            return Err(error);
        }
    };
    server.write_all(&packet).await?;
    server.flush().await?;
    let shared = Shared { rewriter: Mutex::new(Rewriter::new(settings)), answered: Notify::new() };
    let (from_driver, to_driver) = tokio::io::split(driver);
    let (from_server, to_server) = tokio::io::split(server);
    let to_driver = tokio::sync::Mutex::new(to_driver);
    // When one side ends, so does the other.
    tokio::select! {
        ended = shared.send(from_driver, to_server, &to_driver) => ended,
        ended = shared.answer(from_server, &to_driver) => ended,
    }
}

async fn read_startup(driver: &mut UnixStream) -> io::Result<Bytes> {
    let length = driver.read_u32().await? as usize;
    if !(8..=MAX_STARTUP_BYTES).contains(&length) {
        return Err(garbled(Garbled("a startup packet of an impossible length")));
    }
    let mut packet = vec![0; length - 4];
    driver.read_exact(&mut packet).await?;
    Ok(packet.into())
}

/// Says why there is no connection, in a way that makes the driver try again where it would have
/// done so itself.
async fn refuse(driver: &mut UnixStream, error: &io::Error) -> io::Result<()> {
    let code = match error.kind() {
        io::ErrorKind::ConnectionRefused => "57P03",
        _ => "08001",
    };
    let mut answer = BytesMut::new();
    let message = format!("cannot reach the connection pooler: {error}");
    put_error(&mut answer, "FATAL", code, &message);
    driver.write_all(&answer).await
}

fn garbled(error: Garbled) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The state that the two directions of a connection share.
struct Shared {
    rewriter: Mutex<Rewriter>,
    /// The server has said something.
    answered: Notify,
}

type ToDriver = tokio::sync::Mutex<WriteHalf<UnixStream>>;

impl Shared {
    fn rewriter(&self) -> MutexGuard<'_, Rewriter> {
        self.rewriter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From the driver to the server, until the driver hangs up.
    async fn send(
        &self,
        mut from_driver: ReadHalf<UnixStream>,
        mut to_server: WriteHalf<Connection>,
        to_driver: &ToDriver,
    ) -> io::Result<()> {
        let mut read = BytesMut::with_capacity(READ_BYTES);
        let (mut sent, mut answer) = (BytesMut::new(), BytesMut::new());
        loop {
            while let Some(message) = Message::take(&mut read).map_err(garbled)? {
                while !self.rewriter().may_take(&message) {
                    write(&mut to_server, &mut sent).await?;
                    tokio::select! {
                        () = self.answered.notified() => {}
                        // A driver that has lost patience hangs up.
                        more = from_driver.read_buf(&mut read) => if more? == 0 {
                            return Ok(());
                        }
                    }
                }
                let handled = self.rewriter().driver_sends(&message, &mut sent, &mut answer);
                handled.map_err(garbled)?;
                if !answer.is_empty() {
                    write(&mut *to_driver.lock().await, &mut answer).await?;
                }
            }
            write(&mut to_server, &mut sent).await?;
            if from_driver.read_buf(&mut read).await? == 0 {
                return to_server.shutdown().await;
            }
        }
    }

    /// From the server to the driver, until the server hangs up.
    async fn answer(
        &self,
        mut from_server: impl AsyncRead + Unpin,
        to_driver: &ToDriver,
    ) -> io::Result<()> {
        let mut read = BytesMut::with_capacity(READ_BYTES);
        let mut answer = BytesMut::new();
        loop {
            while let Some(message) = Message::take(&mut read).map_err(garbled)? {
                let handled = self.rewriter().server_sends(&message, &mut answer);
                handled.map_err(garbled)?;
            }
            self.answered.notify_one();
            write(&mut *to_driver.lock().await, &mut answer).await?;
            if from_server.read_buf(&mut read).await? == 0 {
                return to_driver.lock().await.shutdown().await;
            }
        }
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &mut BytesMut) -> io::Result<()> {
    if bytes.has_remaining() {
        to.write_all_buf(bytes).await?;
        to.flush().await?;
    }
    Ok(())
}
