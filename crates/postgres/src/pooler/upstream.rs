//! The connection to the pooler.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx_core::net::tls::{self, CertificateInput, TlsConfig};
use sqlx_core::net::{Socket, SocketIntoBox};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// After this long it is taken for unreachable.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// A connection that has been silent for so long is probed, so often, so many times: a pooler that
/// vanished without a word is noticed in 4 s.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(2);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEPALIVE_PROBES: u32 = 2;

/// The same of one that does not acknowledge what it is sent.
const UNACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(4);

/// The address of a pooler, and the way to speak to it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Upstream {
    place: Place,
    tls: Tls,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Place {
    Tcp { host: String, port: u16 },
    Socket(PathBuf),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Tls {
    Off,
    IfOffered(Trust),
    Required(Trust),
}

/// The certificates to trust, in the words of libpq's `sslmode`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Trust {
    verifies_certificate: bool,
    verifies_host: bool,
    root_certificate: Option<String>,
    client_certificate: Option<String>,
    client_key: Option<String>,
}

impl Upstream {
    /// The pooler of these options; the URL that they were read from has the files for TLS.
    pub(super) fn of(url: &str, options: &PgConnectOptions) -> Self {
        let host = options.get_host();
        let file = format!(".s.PGSQL.{}", options.get_port());
        let place = match options.get_socket() {
            Some(folder) => Place::Socket(folder.join(file)),
            None if host.starts_with('/') => Place::Socket(PathBuf::from(host).join(file)),
            None => Place::Tcp { host: host.to_owned(), port: options.get_port() },
        };
        let mode = options.get_ssl_mode();
        let trust = Trust {
            verifies_certificate: matches!(mode, PgSslMode::VerifyCa | PgSslMode::VerifyFull),
            verifies_host: matches!(mode, PgSslMode::VerifyFull),
            root_certificate: file_of(url, &["sslrootcert", "ssl-root-cert", "ssl-ca"]),
            client_certificate: file_of(url, &["sslcert", "ssl-cert"]),
            client_key: file_of(url, &["sslkey", "ssl-key"]),
        };
        let tls = match mode {
            _ if matches!(place, Place::Socket(_)) => Tls::Off,
            PgSslMode::Disable | PgSslMode::Allow => Tls::Off,
            PgSslMode::Prefer => Tls::IfOffered(trust),
            PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull => {
                Tls::Required(trust)
            }
        };
        Self { place, tls }
    }

    /// Connects, looking the host's name up anew.
    pub(super) async fn connect(&self) -> io::Result<Connection> {
        let connecting = async {
            match &self.place {
                Place::Socket(path) => Ok(Connection(Box::new(UnixStream::connect(path).await?))),
                Place::Tcp { host, port } => {
                    let tcp = TcpStream::connect((host.as_str(), *port)).await?;
                    tune(&tcp)?;
                    self.secure(tcp, host).await
                }
            }
        };
        timeout(CONNECT_WITHIN, connecting).await.map_err(io::Error::from)?
    }

    async fn secure(&self, mut tcp: TcpStream, host: &str) -> io::Result<Connection> {
        let trust = match &self.tls {
            Tls::Off => return Ok(Connection(Box::new(tcp))),
            Tls::IfOffered(trust) | Tls::Required(trust) => trust,
        };
        // A length of eight, and the code that asks for TLS.
        tcp.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await?;
        match (tcp.read_u8().await?, &self.tls) {
            (b'S', _) => {}
            (b'N', Tls::IfOffered(_)) => return Ok(Connection(Box::new(tcp))),
            (b'N', _) => return Err(io::Error::other("it does not offer TLS")),
            _ => return Err(io::Error::other("it does not speak the PostgreSQL protocol")),
        }
        let input = |file: &Option<String>| file.clone().map(CertificateInput::from);
        let (root, certificate, key) = (
            input(&trust.root_certificate),
            input(&trust.client_certificate),
            input(&trust.client_key),
        );
        let config = TlsConfig {
            accept_invalid_certs: !trust.verifies_certificate,
            accept_invalid_hostnames: !trust.verifies_host,
            hostname: host,
            root_cert_path: root.as_ref(),
            client_cert_path: certificate.as_ref(),
            client_key_path: key.as_ref(),
        };
        let secured = tls::handshake(tcp, config, SocketIntoBox).await;
        secured.map(Connection).map_err(io::Error::other)
    }
}

/// The value of the first of these parameters of a URL that is there, or of its variable of the
/// environment, as the driver reads them.
fn file_of(url: &str, names: &[&str]) -> Option<String> {
    let url = url::Url::parse(url).ok()?;
    let given = url.query_pairs().find(|(name, _)| names.contains(&name.as_ref()));
    given.map(|(_, value)| value.into_owned()).or_else(|| {
        let variable = format!("PG{}", names.first()?.to_uppercase());
        std::env::var(variable).ok()
    })
}

/// Sends at once, and notices a peer that is gone.
fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    let socket = SockRef::from(tcp);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_WITHIN))?;
    Ok(())
}

/// A connection to a pooler.
pub(super) struct Connection(Box<dyn Socket>);

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut space = buffer.initialize_unfilled();
            match self.0.try_read(&mut space) {
                Ok(read) => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.0.poll_read_ready(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.0.poll_write_ready(cx))?;
                }
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_shutdown(cx)
    }
}
