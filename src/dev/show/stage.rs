//! The parts of `app dev` that keys act on, and the words of what they do.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::bail;
use opentelemetry::trace::{SpanKind, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, global};
use sqlx::PgPool;

use super::deliveries::Inbox;
use super::outage::Customer;
use super::requests::ApiClient;
use crate::dev::bank::{Bank, SimulatedBank};
use crate::dev::messages::print;
use crate::standard_webhooks::WebhookSecret;
use crate::terminal;

/// The interval between two looks at something that is waited for.
pub(super) const POLL: Duration = Duration::from_millis(50);

/// The parts that keys act on.
pub(in crate::dev) struct Stage {
    /// The address of the API.
    pub(in crate::dev) address: SocketAddr,
    /// The database.
    pub(in crate::dev) pool: PgPool,
    /// The way of other processes to the database; none if it is not our own.
    pub(in crate::dev) private_url: Option<String>,
    /// The bank.
    pub(in crate::dev) bank: Arc<Bank>,
    /// Signs inbound webhooks; none where that is not asked for.
    pub(in crate::dev) secret: Option<WebhookSecret>,
    /// The time from acceptance to settlement.
    pub(in crate::dev) settle_delay: Duration,
    /// True if traces are kept, and can be looked at.
    pub(in crate::dev) has_traces: bool,
    /// The customer of the bank, once there is one.
    pub(in crate::dev) customer: OnceLock<Customer>,
    /// The receiver of our webhooks, once there is one.
    pub(in crate::dev) inbox: OnceLock<Inbox>,
}

/// Says something of what a key does.
pub(super) fn say(key: char, text: &str) {
    let text = text.replace(|c: char| c.is_control(), " ");
    match terminal::is_colored() {
        true => print(&format!("  \u{1b}[1;36m{key}  {text}\u{1b}[0m\n")),
        false => print(&format!("  {key}  {text}\n")),
    }
}

impl Stage {
    /// Our own API.
    pub(super) fn api(&self) -> ApiClient {
        ApiClient::new(self.address)
    }

    /// The URL of a database in which payments may be made up: our own.
    pub(super) fn private_url(&self) -> anyhow::Result<&str> {
        match &self.private_url {
            Some(url) => Ok(url),
            None => bail!("nothing is made up in a database that --database-url names"),
        }
    }

    /// The bank, if it can be told what to do.
    pub(super) fn simulated_bank(&self) -> anyhow::Result<&SimulatedBank> {
        match &self.bank.simulated {
            Some(bank) => Ok(bank),
            None => bail!("the bank is not simulated: nobody here can take it down"),
        }
    }

    pub(super) async fn is_bank_down(&self) -> bool {
        match &self.bank.simulated {
            Some(bank) => !bank.is_up().await,
            None => false,
        }
    }

    /// Prints the address of the dashboard, and opens it where there is a browser.
    pub(super) fn open_dashboard(&self) {
        let url = format!("http://{}/ui", self.address);
        open_in_browser(&url);
        say('d', &url);
    }

    /// The page of a trace, if it is kept.
    pub(super) fn page_of_trace(&self, cx: &Context) -> Option<String> {
        let trace = cx.span().span_context().trace_id();
        let is_kept = self.has_traces && cx.span().span_context().is_sampled();
        is_kept.then(|| format!("http://{}/ui/traces/{trace}", self.address))
    }

    /// Ends what was begun for the show.
    pub(super) async fn leave(&self) {
        if let Some(inbox) = self.inbox.get() {
            inbox.close(&self.pool).await;
        }
    }
}

/// Begins a trace of what a key does, to be ended by [`end_trace`].
pub(super) fn begin_trace(name: &'static str) -> Context {
    let tracer = global::tracer("surety.dev");
    let span = tracer.span_builder(name).with_kind(SpanKind::Client).start(&tracer);
    Context::new().with_span(span)
}

/// Ends the span of what a key did.
pub(super) fn end_trace(cx: &Context) {
    cx.span().end();
}

/// Starts whatever opens a page here; without a screen there is nothing to open it on.
fn open_in_browser(url: &str) {
    let has_screen = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let browser = std::env::var_os("BROWSER").filter(|browser| !browser.is_empty());
    let opener = match browser {
        Some(browser) => browser,
        None if cfg!(target_os = "macos") => "open".into(),
        None if has_screen("DISPLAY") || has_screen("WAYLAND_DISPLAY") => "xdg-open".into(),
        None => return,
    };
    let mut command = Command::new(opener);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // The address is printed in any case.
    if let Ok(mut opener) = command.spawn() {
        std::thread::spawn(move || opener.wait());
    }
}
