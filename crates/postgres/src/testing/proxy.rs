//! The network between us and a database.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A TCP address that leads to a server, until told otherwise. Ends with this value.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    /// The server's socket, for connections to come.
    target: Mutex<PathBuf>,
    /// Connections from before this count stand still.
    cut: watch::Sender<u64>,
    /// Connections to come stand still from the beginning.
    is_dark: watch::Sender<bool>,
    /// Connections to come are made so much later.
    delay: Mutex<Duration>,
    /// The next connection that a client asks this over stands still from then on.
    swallowed: Mutex<Option<&'static str>>,
    made: Mutex<u64>,
}

impl Proxy {
    /// In front of the server of this URL.
    pub async fn start(database_url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target: Mutex::new(socket_of(database_url)),
            cut: watch::Sender::new(0),
            is_dark: watch::Sender::new(false),
            delay: Mutex::default(),
            swallowed: Mutex::default(),
            made: Mutex::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, accepting }
    }

    /// The URL of the same database by way of this network.
    pub fn url(&self, database_url: &str) -> String {
        let behind = PgConnectOptions::from_str(database_url).unwrap();
        let (user, database) = (behind.get_username(), behind.get_database().unwrap());
        format!("postgres://{user}@{}/{database}?sslmode=disable", self.address)
    }

    /// Connections to come lead to the server of this URL; those that there are stay where they
    /// are.
    pub fn lead_to(&self, database_url: &str) {
        *self.shared.target.lock().unwrap() = socket_of(database_url);
    }

    /// Nothing passes any more on the connections that there are, and neither side is told.
    pub fn cut_silently(&self) {
        let made = *self.shared.made.lock().unwrap();
        self.shared.cut.send_replace(made);
    }

    /// The same, and nothing passes on new ones either, until [`Self::heal`].
    pub fn go_dark(&self) {
        self.shared.is_dark.send_replace(true);
        self.cut_silently();
    }

    /// New connections work again; those that were cut stay so.
    pub fn heal(&self) {
        self.cut_silently();
        self.shared.is_dark.send_replace(false);
    }

    /// Connections to come take so much longer to be made.
    pub fn delay_new(&self, delay: Duration) {
        *self.shared.delay.lock().unwrap() = delay;
    }

    /// The next command of this text, such as `BEGIN`, does not reach the server, nor does anything
    /// after it on its connection; and neither side is told.
    pub fn swallow(&self, command: &'static str) {
        *self.shared.swallowed.lock().unwrap() = Some(command);
    }

    /// Tells if what was to be swallowed last has come.
    pub fn has_swallowed(&self) -> bool {
        self.shared.swallowed.lock().unwrap().is_none()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn socket_of(database_url: &str) -> PathBuf {
    let behind = PgConnectOptions::from_str(database_url).unwrap();
    let folder = behind.get_socket().expect("the tests' servers have sockets");
    folder.join(format!(".s.PGSQL.{}", behind.get_port()))
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Ended with the proxy, and with them the connections.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let number = {
            let mut made = shared.made.lock().unwrap();
            *made += 1;
            *made
        };
        connections.spawn(pass(client, number, Arc::clone(&shared)));
    }
}

async fn pass(mut client: TcpStream, number: u64, shared: Arc<Shared>) {
    let mut cut = shared.cut.subscribe();
    if *shared.is_dark.borrow() {
        return std::future::pending().await;
    }
    let delay = *shared.delay.lock().unwrap();
    tokio::time::sleep(delay).await;
    let target = shared.target.lock().unwrap().clone();
    let Ok(mut server) = UnixStream::connect(target).await else { return };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let asking = async {
        pass_commands(&mut from_client, &mut to_server, &shared).await;
        _ = to_server.shutdown().await;
    };
    let answering = async {
        _ = copy(&mut from_server, &mut to_client).await;
        _ = to_client.shutdown().await;
    };
    tokio::select! {
        _ended = async { tokio::join!(asking, answering) } => {}
        () = async { _ = cut.wait_for(|cut| number <= *cut).await.is_ok() } => {
            // Both ends stay open.
            std::future::pending::<()>().await;
        }
    }
}

async fn pass_commands(
    client: &mut (impl AsyncRead + Unpin),
    server: &mut (impl AsyncWrite + Unpin),
    shared: &Shared,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = client.read(&mut buffer).await {
        if shared.swallows(&buffer[..read]) {
            // Both ends stay open.
            std::future::pending::<()>().await;
        }
        if server.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
}

impl Shared {
    fn swallows(&self, sent: &[u8]) -> bool {
        let mut swallowed = self.swallowed.lock().unwrap();
        // As in a simple query, which ends with a zero.
        let is_it = swallowed.is_some_and(|command| {
            let query = format!("{command}\0");
            sent.windows(query.len()).any(|at| at.eq_ignore_ascii_case(query.as_bytes()))
        });
        if is_it {
            *swallowed = None;
        }
        is_it
    }
}
