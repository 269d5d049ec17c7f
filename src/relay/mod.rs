//! `app relay`: the composition root of a process that publishes events to a broker that others
//! have already.
//!
//! - Here: the command, and the line in the log that tells how it goes.
//! - `settings`: its options, and the broker that a URL means.
//! - `relaying`: the way of events, batch by batch.
//! - `cloud_event`: events as brokers get them.
//! - `brokers`: NATS JetStream and AMQP 0-9-1.
//! - `figures`: what those see who watch over it.
//!
//! ```text
//!   events.peek ─▶ CloudEvents ─▶ the broker, which confirms each ─▶ events.move_on
//! ```
//!
//! Guaranteed: every event is confirmed by the broker before the relay's place moves behind it, so
//! none is lost, whoever dies when. Events of one account are published in the order of their
//! commits. After a failure everything from the first unconfirmed event on is published again, in
//! the same order and with the same ids. No transaction of the database is open while the broker is
//! spoken to.
//!
//! Deliberately absent: exactly once, which nobody can promise across two systems; a choice of
//! events, which readers make by subject or binding; and any wait of the money for a broker. While
//! it is away, events wait in the database.

mod brokers;
mod cloud_event;
mod figures;
mod relaying;
pub mod settings;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use self::figures::Figures;
use self::relaying::Relay;
pub use self::settings::Args;

use crate::db;
use crate::events::reader;
use crate::metrics::{Metrics, show_pool};
use crate::probes::Probes;
use crate::telemetry;

/// Connections to the database: for the events, and for who watches.
const CONNECTIONS: u32 = 2;
/// The interval of the line in the log.
const REPORT_EVERY: Duration = Duration::from_secs(60);

const APPLICATION: &str = "surety relay";

/// `app relay`.
///
/// # Errors
///
/// When the settings cannot work, the database cannot be reached or its schema is not current; with
/// `--once`, when an event could not be relayed.
pub async fn run_command(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let destination = args.destination()?;
    let pool = args.database.connect_to_write(CONNECTIONS, APPLICATION).await?;
    db::require_current_schema(&pool).await?;
    let reader = args.reader();
    if reader::begin(&mut *pool.acquire().await?, &reader, args.from.start()).await? {
        tracing::info!("a new relay, from {:?} on", args.from);
    }
    let figures = Arc::new(Figures::new(pool.clone(), reader.clone()));
    let mut beside = tokio::task::JoinSet::new();
    let metrics = Metrics::new();
    figures.show(&metrics);
    show_pool(&metrics, "relay", &pool);
    let _export = telemetry::export_metrics(&metrics);
    let alive = Arc::clone(&figures);
    let probes = Probes::new(metrics, shutdown.clone())
        .with_database(pool.clone())
        .while_alive(move || alive.is_alive());
    let _answers = match args.probes.probe_listen {
        Some(address) => Some(probes.listen(address).await?),
        None => None,
    };
    beside.spawn(Arc::clone(&figures).watch_lag());
    beside.spawn(report(Arc::clone(&figures)));
    tracing::info!("relaying events to {destination} as {}", args.name);
    let relay = Relay {
        pool,
        reader,
        destination,
        source: args.source,
        batch: args.batch,
        poll: args.poll,
        lease: args.lease,
        figures: Arc::clone(&figures),
    };
    match args.once {
        true => relay.run_once(&shutdown).await.context("not all events were relayed")?,
        false => relay.run(&shutdown).await,
    }
    tracing::info!(published = figures.published(), "stopped relaying");
    Ok(())
}

/// Tells every minute how it goes.
async fn report(figures: Arc<Figures>) {
    loop {
        tokio::time::sleep(REPORT_EVERY).await;
        let published = figures.published();
        let connected = figures.is_connected();
        match figures.lag() {
            Some(lag) => tracing::info!(
                published,
                connected,
                lag_events = lag.events,
                lag_seconds = lag.seconds,
                "relaying"
            ),
            None => tracing::info!(published, connected, "relaying; the lag cannot be read"),
        }
    }
}
