//! Working through a connection pooler that gives a client another server session for every
//! database transaction: PgBouncer in transaction mode, and those like it.
//!
//! Three things break there. The driver prepares a statement in one round trip and binds it in the
//! next; between the two the pooler may change the server, and then the name is unknown there or,
//! worse, another client's. Settings that are sent with the start of a connection are refused, or
//! lost. And whatever lives in a session, such as `LISTEN`, lands in somebody else's.
//!
//! So the driver does not speak to such a pooler itself. It connects to a relay in this process,
//! which rewrites what passes:
//!
//! - **No statement is ever left on a server to be found there later.** The relay remembers what
//!   the driver has prepared, and puts the text of a statement directly before each use of it, in
//!   the same group of messages up to one `Sync`. A pooler cannot change the server within a
//!   group, so a `Bind` finds the statement that was parsed immediately before it, whatever the
//!   server did for others.
//! - **Each database transaction has our settings**, those of the startup packet, as `set local`.
//! - **What needs a session is refused** with an error that names `APP_DATABASE_DIRECT_URL`,
//!   instead of working by chance.
//!
//! Nothing else in the program knows the difference: the same pools, the same statements, the
//! same settings. Without a pooler there is no relay either.
//!
//! - Here: finding out, and which relays there are.
//! - `relay`: the thread, its socket, and the connections through it.
//! - `startup`: the first packet of a connection, and the settings in it.
//! - `rewriter`: what happens to each message; knows no sockets.
//! - `sql`: what is told of a statement by its first words.
//! - `wire`: cutting a stream into messages, and making some.
//! - `upstream`: the connection to the pooler, with TLS if asked.
//!
//! Deliberately absent: statement-mode pooling, which has no transactions, and with which nothing
//! here can work.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{PgPool, Row as _, raw_sql};

use self::relay::Relay;
use self::upstream::Upstream;

mod relay;
mod rewriter;
mod sql;
mod startup;
mod upstream;
mod wire;

/// The setting that tells how a connection reaches its server: [`DIRECT`] in the startup packet,
/// [`POOLED`] in each transaction that comes through a relay, and neither where a pooler has
/// dropped the settings of the startup packet.
pub(crate) const ROUTE_SETTING: &str = "surety.route";
pub(crate) const DIRECT: &str = "direct";
const POOLED: &str = "pooler";

/// The name of a relay's socket begins so.
const SOCKET_PREFIX: &str = "surety-pooler-";

/// Tells whether a connection was refused because of the settings in its startup packet. PgBouncer
/// calls them unsupported parameters (08P01); others do not support the feature (0A000).
pub(crate) fn refuses_settings(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == "08P01" || code == "0A000")
}

/// Tells whether the settings of the startup packet have reached the server. Asked by the simple
/// protocol, which is safe through any pooler.
pub(crate) async fn settings_arrive(pool: &PgPool) -> Result<bool, sqlx::Error> {
    let question = "select coalesce(current_setting('surety.route', true), '')";
    let route: String = raw_sql(question).fetch_one(pool).await?.try_get(0)?;
    Ok(route == DIRECT)
}

/// The same options by way of a relay, which is started if there is none yet for this pooler. It
/// lives as long as the process.
///
/// # Errors
///
/// When the socket of the relay cannot be made.
pub(crate) fn relayed(url: &str, options: &PgConnectOptions) -> std::io::Result<PgConnectOptions> {
    static RELAYS: Mutex<Option<HashMap<Upstream, Relay>>> = Mutex::new(None);
    let upstream = Upstream::of(url, options);
    let mut relays = RELAYS.lock().unwrap_or_else(PoisonError::into_inner);
    let relays = relays.get_or_insert_default();
    let relay = match relays.remove(&upstream) {
        Some(relay) => relay,
        None => Relay::start(upstream.clone(), options.get_port())?,
    };
    let folder = relay.folder().to_owned();
    relays.insert(upstream, relay);
    // TLS is between the relay and the pooler; this socket leads nowhere but to this process.
    Ok(options.clone().socket(folder).ssl_mode(PgSslMode::Disable))
}

/// Tells whether the connections of these options go through a connection pooler: then nothing may
/// depend on the session.
pub fn is_pooled(options: &PgConnectOptions) -> bool {
    let socket = options.get_socket();
    socket.is_some_and(|path| path.to_string_lossy().contains(SOCKET_PREFIX))
}
