//! `app serve` and `app work` as child processes, to be measured.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use http_body_util::Full;
use indicatif::ProgressBar;
use surety::cli::send::client::Target;
use surety::cli::send::events::{Plan, Source};
use surety::cli::send::load::Load;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::http::HttpConnection;
use super::ingest::REQUEST_TIMEOUT;
use super::spending;

/// The longest that `app serve` may take until it is ready.
const START_TIME: Duration = Duration::from_secs(20);
/// The variables of its rate limits.
const LIMITS: [&str; 5] = [
    "APP_LIMIT_BALANCE",
    "APP_LIMIT_TRANSACTION_LIST",
    "APP_LIMIT_API",
    "APP_LIMIT_LOGIN_ACCOUNT",
    "APP_LIMIT_LOGIN_ADDRESS",
];

/// `app serve`, killed when dropped.
pub(crate) struct Serve {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Serve {
    pub(crate) async fn start(database_url: &str) -> anyhow::Result<Self> {
        let address = free_address()?;
        let child = Command::new(app_binary()?)
            .args(["serve", "--listen", &address.to_string()])
            .env("DATABASE_URL", database_url)
            .env("APP_LOG", super::log_filter())
            .env_remove("APP_WEBHOOK_SECRETS")
            .env_remove("APP_WEBHOOK_SECRETS_FILE")
            // How fast it can be is asked, not how fast it may.
            .envs(LIMITS.map(|limit| (limit, "off")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("app serve cannot be started")?;
        let mut serve = Self { child, address };
        serve.wait_until_ready().await?;
        Ok(serve)
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let address = self.address.to_string();
        let begun = Instant::now();
        while begun.elapsed() < START_TIME {
            if let Some(status) = self.child.try_wait()? {
                bail!("app serve ended at once ({status}); what it said is above");
            }
            if is_ready(&address).await.unwrap_or(false) {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
        bail!("app serve was not ready within {} s", START_TIME.as_secs())
    }

    /// The address that webhooks are sent to.
    pub(crate) fn target(&self) -> anyhow::Result<Target> {
        Ok(Target::parse(&format!("http://{}", self.address), REQUEST_TIMEOUT)?)
    }

    /// Sends so many new transactions, made up from the seed, by so many connections with one
    /// request at a time each. All must be accepted.
    pub(crate) async fn send(
        &self,
        count: u64,
        seed: u64,
        connections: usize,
    ) -> anyhow::Result<()> {
        let target = self.target()?;
        let load = Load { target, connections, rate: None, retries: 0, signer: None };
        let plan = Plan { firsts: count, repeats: 0, seed };
        let (quiet, never) = (ProgressBar::hidden(), CancellationToken::new());
        let tally = load.run(Source::Generated, plan, quiet, never).await?;
        ensure!(tally.accepted == count, "{} of {count} requests failed", tally.failed());
        Ok(())
    }

    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("app serve cannot be stopped")
    }

    /// The processor time that it took so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        spending::cpu_of(self.process_id()?)
    }

    pub(crate) fn process_id(&self) -> anyhow::Result<u32> {
        id_of(&self.child)
    }
}

/// `app work`, killed when dropped.
pub(crate) struct Work {
    child: Child,
}

impl Work {
    /// Starts one that claims from these queues, by its defaults.
    pub(crate) fn start(database_url: &str, queues: &[&str]) -> anyhow::Result<Self> {
        let child = Command::new(app_binary()?)
            .args(["work", "--queues", &queues.join(",")])
            .env("DATABASE_URL", database_url)
            .env("APP_LOG", super::log_filter())
            // Receivers are on this machine.
            .env("APP_WEBHOOK_ALLOW_PRIVATE", "true")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("app work cannot be started")?;
        Ok(Self { child })
    }

    /// The processor time that it took so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        spending::cpu_of(self.process_id()?)
    }

    pub(crate) fn process_id(&self) -> anyhow::Result<u32> {
        id_of(&self.child)
    }

    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("app work cannot be stopped")
    }
}

fn id_of(child: &Child) -> anyhow::Result<u32> {
    child.id().context("the process has ended")
}

async fn is_ready(address: &str) -> anyhow::Result<bool> {
    let mut connection = HttpConnection::open(address).await?;
    let request = connection.request().uri("/readyz").body(Full::default())?;
    let (status, _) = connection.send(request).await?;
    Ok(status.is_success())
}

/// The binary `app`, which is built and shipped beside this one.
fn app_binary() -> anyhow::Result<PathBuf> {
    let app = std::env::current_exe()?.with_file_name("app");
    if !app.is_file() {
        bail!(
            "there is no {}: build it in the same way (cargo build --release), or copy it there",
            app.display()
        );
    }
    Ok(app)
}

/// An address that was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
