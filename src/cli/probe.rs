//! `app probe`: asks a process of ours whether it can do its work, for health checks where there is
//! no shell and no curl.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::arguments::{BadSetting, parse_duration, parse_listen_address};

/// Where processes answer probes, and the variables that say so; the first goes first, as it may be
/// set beside the last.
const LISTENERS: [&str; 3] = ["APP_PROBE_LISTEN", "APP_ADMIN_LISTEN", "APP_LISTEN"];
/// Where `app serve` listens when nothing says where.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000);
/// More of an answer is not read.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// More of it is not shown: a health check is kept as one line.
const MAX_SHOWN_CHARS: usize = 200;

/// Asks a process whether it is ready: exit 0 if it is, and 1 with the reason if not.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  app probe                                          the process that this environment starts
  app probe --alive                                  for who restarts what fails
  app probe http://127.0.0.1:9100 --timeout 500ms

Without a URL, the addresses that APP_PROBE_LISTEN, APP_ADMIN_LISTEN and APP_LISTEN name are asked
in this order, or 127.0.0.1:8000 in place of the last; the first at which somebody listens has the
say. What another process was told by flags is not known here: then give the URL.

Exit codes: 0 it is, 1 it is not or does not answer, 2 usage, 78 a setting cannot be used.")]
pub struct Args {
    /// Where to ask: http://HOST:PORT, with a path for another than /readyz or /healthz.
    url: Option<Target>,

    /// Ask whether it lives, by /healthz: a database that is away is then no failure.
    #[arg(long)]
    alive: bool,

    /// The longest time for all of it.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_duration)]
    timeout: Duration,
}

/// Does what `args` ask for.
///
/// # Errors
///
/// When the process is not ready, or does not answer in time.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let targets = match args.url {
        Some(target) => vec![target],
        None => of_environment()?,
    };
    let path = if args.alive { "/healthz" } else { "/readyz" };
    let probing = ask_first(&targets, path);
    let late = || format!("no answer from {} within {:?}", listed(&targets), args.timeout);
    let (url, answer) = timeout(args.timeout, probing).await.with_context(late)??;
    anyhow::ensure!(
        answer.status.is_success(),
        "{url} answers {}: {}",
        answer.status.as_u16(),
        answer.shown()
    );
    println!("{url} answers {}", answer.status.as_u16());
    Ok(ExitCode::SUCCESS)
}

/// A place to ask.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Target {
    host: String,
    port: u16,
    /// The path, where it is none of ours.
    path: Option<String>,
}

/// The URL is none that can be asked. It is not repeated, as it may hold a secret.
#[derive(Debug, thiserror::Error)]
#[error("expected http://HOST:PORT, without a user, such as http://127.0.0.1:9100")]
struct InvalidTarget;

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(url: &str) -> Result<Self, InvalidTarget> {
        let uri: Uri = url.parse().map_err(|_| InvalidTarget)?;
        let authority = uri.authority().ok_or(InvalidTarget)?;
        if uri.scheme_str() != Some("http") || authority.as_str().contains('@') {
            return Err(InvalidTarget);
        }
        let path = uri.path_and_query().filter(|path| *path != "/").map(ToString::to_string);
        let host = authority.host().to_owned();
        Ok(Self { host, port: authority.port_u16().unwrap_or(80), path })
    }
}

impl From<SocketAddr> for Target {
    /// The address at which a process of this machine is reached that listens here.
    fn from(address: SocketAddr) -> Self {
        let host = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
            IpAddr::V6(ip) if ip.is_unspecified() => format!("[{}]", Ipv6Addr::LOCALHOST),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        Self { host, port: address.port(), path: None }
    }
}

impl Target {
    fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// Where the process that this environment starts may answer.
fn of_environment() -> Result<Vec<Target>, BadSetting> {
    let mut targets = Vec::new();
    for name in LISTENERS {
        let set = std::env::var(name).ok().filter(|address| !address.is_empty());
        let address = set.map(|address| parse_listen_address(&address)).transpose();
        let address =
            address.map_err(|error| BadSetting(format!("{name} cannot be used: {error}")));
        let last = (name == "APP_LISTEN").then_some(DEFAULT);
        targets.extend(address?.or(last).map(Target::from));
    }
    targets.dedup();
    Ok(targets)
}

fn listed(targets: &[Target]) -> String {
    targets.iter().map(Target::authority).collect::<Vec<_>>().join(" or ")
}

struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl Answer {
    /// The first line of it that says something.
    fn shown(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let problem: Option<serde_json::Value> = serde_json::from_str(&text).ok();
        let message = problem.as_ref().and_then(|it| it.get("message")?.as_str());
        let line = message.unwrap_or(&text).lines().next().unwrap_or_default().trim();
        line.chars().filter(|it| !it.is_control()).take(MAX_SHOWN_CHARS).collect()
    }
}

/// The answer of the first of these at which somebody listens, and its URL.
async fn ask_first(targets: &[Target], usual: &str) -> anyhow::Result<(String, Answer)> {
    for target in targets {
        let path = target.path.as_deref().unwrap_or(usual);
        let url = format!("http://{}{path}", target.authority());
        match TcpStream::connect(target.authority()).await {
            Ok(stream) => {
                let answer = ask(stream, &target.authority(), path).await;
                let answer = answer.with_context(|| format!("{url} gives no answer"))?;
                return Ok((url, answer));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("{} cannot be reached", target.authority()));
            }
        }
    }
    anyhow::bail!("nobody listens at {}", listed(targets))
}

async fn ask(stream: TcpStream, host: &str, path: &str) -> anyhow::Result<Answer> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path).header(HOST, host).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
    connection.abort();
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    Ok(Answer { status, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(address: &str) -> String {
        Target::from(parse_listen_address(address).expect(address)).authority()
    }

    #[test]
    fn whoever_listens_everywhere_is_asked_here() {
        for (listens, asked) in [
            ("0.0.0.0:9100", "127.0.0.1:9100"),
            ("[::]:9100", "[::1]:9100"),
            ("10.1.2.3:80", "10.1.2.3:80"),
            ("[fd00::1]:80", "[fd00::1]:80"),
            ("9100", "127.0.0.1:9100"),
        ] {
            assert_eq!(authority(listens), asked);
        }
    }

    #[test]
    fn a_url_names_a_process_and_no_secret() {
        let target = |url: &str| url.parse::<Target>().ok();
        let of = |host: &str, port, path: Option<&str>| {
            Some(Target { host: host.to_owned(), port, path: path.map(str::to_owned) })
        };
        assert_eq!(target("http://127.0.0.1:9100"), of("127.0.0.1", 9100, None));
        assert_eq!(target("http://work:9100/"), of("work", 9100, None));
        assert_eq!(target("http://[::1]/version"), of("[::1]", 80, Some("/version")));
        for url in ["", "work:9100", "/readyz", "https://work", "http://a:b@work", "ftp://work"] {
            assert_eq!(target(url), None, "{url}");
        }
    }
}
