//! Pools and single connections, with what every connection of ours is set to.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool};

use crate::abandoned::Abandoned;
use crate::database_url::{DatabaseUrl, UrlError};
use crate::guard::{Purpose, guarded};
use crate::pooler::{self, is_pooled};

/// The longest that a request waits for a connection before it is answered 503.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

/// The same for a command, behind which no user waits: a busy server is no reason to give up.
const COMMAND_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest that a request or a job which was cut off keeps its locks: whoever sends it again
/// waits that long. None of them waits for anything else inside a transaction.
const WRITERS_IDLE_TIMEOUT: &str = "2s";

/// The ways in which PostgreSQL cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// `DATABASE_URL` is not a PostgreSQL URL.
    #[error(
        "the database URL cannot be read (expected postgres://user:password@host:port/database)"
    )]
    Url(#[source] UrlError),
    /// Nothing says which database is meant.
    #[error("no database is named")]
    NotNamed,
    /// The server did not answer, or refused the connection.
    #[error("cannot reach PostgreSQL at {server}")]
    Unreachable {
        /// Host, port and database, without any password.
        server: String,
        /// The driver's error.
        #[source]
        source: sqlx::Error,
    },
    /// A session is needed, and a connection pooler is in the way.
    #[error(
        "{server} is a connection pooler, which gives each transaction another session: set \
         APP_DATABASE_DIRECT_URL to the PostgreSQL behind it for {purpose}"
    )]
    NeedsSession {
        /// Host, port and database, without any password.
        server: String,
        /// The work that needs it, in words that follow "for".
        purpose: &'static str,
    },
    /// The way to a connection pooler cannot be opened.
    #[error("cannot relay to the connection pooler")]
    Relay(#[source] std::io::Error),
}

/// Opens a pool of at most `max_connections`, after one connection was made to see that the server
/// is there. If that is a connection pooler which gives transactions sessions by turns, the pool
/// goes through a relay that makes this safe.
///
/// # Errors
///
/// [`ConnectError::Url`] and [`ConnectError::Unreachable`].
pub async fn connect(
    url: &str,
    max_connections: u32,
    application_name: &str,
) -> Result<PgPool, ConnectError> {
    connect_for(Purpose::Any, url, max_connections, application_name).await
}

/// [`connect`] for who writes: connections to a server that has become read-only are given up, and
/// the address is asked for the one that took its place.
///
/// # Errors
///
/// [`ConnectError::Url`] and [`ConnectError::Unreachable`].
pub async fn connect_to_write(
    url: &str,
    max_connections: u32,
    application_name: &str,
) -> Result<PgPool, ConnectError> {
    connect_for(Purpose::Writing, url, max_connections, application_name).await
}

/// A connection beside the pool's, to the same database, for work that is made of slow statements:
/// none of them is warned of.
///
/// # Errors
///
/// When the database cannot be reached.
pub async fn connect_for_slow_statements(pool: &PgPool) -> sqlx::Result<PgConnection> {
    let options = pool.connect_options().as_ref().clone().disable_statement_logging();
    PgConnection::connect_with(&options).await
}

/// Another pool to the same server, of at most so many connections that are made when needed: for
/// work that the users of `pool` must not keep waiting, or that must not keep them waiting.
pub fn pool_like(pool: &PgPool, max_connections: u32) -> PgPool {
    let options = pool.options().clone().min_connections(0).max_connections(max_connections);
    options.connect_lazy_with(pool.connect_options().as_ref().clone())
}

async fn connect_for(
    purpose: Purpose,
    url: &str,
    max_connections: u32,
    application_name: &str,
) -> Result<PgPool, ConnectError> {
    let mut options = connect_options(url, application_name)?;
    let asked_for = DatabaseUrl::parse(url).map_err(ConnectError::Url)?.connect_timeout;
    let patience = match purpose {
        Purpose::Any => asked_for.unwrap_or(COMMAND_ACQUIRE_TIMEOUT),
        Purpose::Writing => ACQUIRE_TIMEOUT,
    };
    if purpose == Purpose::Writing {
        options = options.options([("idle_in_transaction_session_timeout", WRITERS_IDLE_TIMEOUT)]);
    }
    let server = server_name(&options);
    // Each pool asks about what it gave up by the way that it takes itself.
    let pool_options = |way: &PgConnectOptions| {
        let options = PgPoolOptions::new().max_connections(max_connections);
        let options = options.acquire_timeout(patience);
        guarded(options, purpose, Abandoned::new(way.clone()))
    };
    let unreachable = |source| ConnectError::Unreachable { server: server.clone(), source };
    let first = async {
        if purpose == Purpose::Any {
            try_once(&options, patience).await?;
        }
        match pool_options(&options).connect_with(options.clone()).await {
            Err(sqlx::Error::PoolTimedOut) => {
                try_once(&options, patience).await.and(Err(sqlx::Error::PoolTimedOut))
            }
            other => other,
        }
    };
    let refused = match first.await {
        Ok(pool) if pooler::settings_arrive(&pool).await.map_err(unreachable)? => return Ok(pool),
        Ok(pool) => {
            pool.close().await;
            None
        }
        Err(error) if pooler::refuses_settings(&error) => Some(error),
        Err(error) => return Err(unreachable(error)),
    };
    let relayed = pooler::relayed(url, &options).map_err(ConnectError::Relay)?;
    let pool = pool_options(&relayed)
        .connect_with(relayed)
        .await
        // What it refused at first says more than what else it refuses without it.
        .map_err(|error| unreachable(refused.unwrap_or(error)))?;
    tracing::info!(server, "behind a connection pooler: no statement depends on its session");
    Ok(pool)
}

/// Connects and closes again. A pool tries a port that nobody listens on until its time is over,
/// and then knows only that it is; this tells at once what was wrong.
async fn try_once(options: &PgConnectOptions, patience: Duration) -> Result<(), sqlx::Error> {
    let connection = tokio::time::timeout(patience, PgConnection::connect_with(options))
        .await
        .map_err(|_| sqlx::Error::PoolTimedOut)??;
    connection.close().await
}

/// The options of a connection of ours: `url`, the name that the server's lists show for it, and
/// the settings that every session has.
///
/// # Errors
///
/// [`ConnectError::Url`].
pub fn connect_options(
    url: &str,
    application_name: &str,
) -> Result<PgConnectOptions, ConnectError> {
    let DatabaseUrl { url, .. } = DatabaseUrl::parse(url).map_err(ConnectError::Url)?;
    // The driver's own error may show a part of it.
    let mut options = PgConnectOptions::from_str(url.as_str())
        .map_err(|_| ConnectError::Url(UrlError::Malformed))?;
    // The driver would look up the brackets, too.
    let address = options.get_host().strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    if let Some(address) = address.map(str::to_owned) {
        options = options.host(&address);
    }
    Ok(options.application_name(application_name).options([
        // A statement that hangs must not hold its caller for ever. A transaction whose process was
        // frozen must not hold its locks until long after another worker was given its job: no
        // honest one idles for seconds.
        ("statement_timeout", "30s"),
        ("idle_in_transaction_session_timeout", "10s"),
        ("timezone", "UTC"),
        // Notices, such as that a table exists already, concern nobody who reads our log.
        ("client_min_messages", "warning"),
        // A prepared statement keeps its plan for the life of the connection. One that was made
        // while a table had ten rows reads it from end to end when it has a million: settling
        // became 10 times slower within 60,000 transactions. So scans of whole tables are for
        // statements that have no other way.
        ("enable_seqscan", "off"),
        // Meant for analytics; here it would only add its 100 ms to the first such scan.
        ("jit", "off"),
        // No setting of PostgreSQL's: whether it arrives tells what is in between.
        (pooler::ROUTE_SETTING, pooler::DIRECT),
    ]))
}

/// Fails when the pool goes through a connection pooler. `purpose` is the work that needs a
/// session, in words that follow "for".
///
/// # Errors
///
/// [`ConnectError::NeedsSession`].
pub fn require_session(pool: &PgPool, purpose: &'static str) -> Result<(), ConnectError> {
    let options = pool.connect_options();
    match is_pooled(&options) {
        true => Err(ConnectError::NeedsSession { server: server_name(&options), purpose }),
        false => Ok(()),
    }
}

/// Host, port and database of these options: the part that may be shown to people.
pub fn server_name(options: &PgConnectOptions) -> String {
    let host = options
        .get_socket()
        // The socket of our own relay says nothing to anybody.
        .filter(|_| !is_pooled(options))
        .map_or_else(|| options.get_host().to_owned(), |socket| socket.display().to_string());
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    format!("{host}:{}/{}", options.get_port(), options.get_database().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_url_is_refused_without_any_part_of_it() {
        for (url, expected) in [
            ("", UrlError::Scheme),
            ("marker", UrlError::Scheme),
            ("mysql://u:marker@h/d", UrlError::Scheme),
            ("postgres:/u:marker@h/d", UrlError::Scheme),
            ("postgres://u:mar/ker@h/d", UrlError::Unescaped),
            ("postgres://u:12/marker@h:1/d", UrlError::Unescaped),
            ("postgres://u:12?marker@h:1/d", UrlError::Unescaped),
            ("postgres://u:12#marker@h:1/d", UrlError::Unescaped),
            ("postgres://u:p@h/d?sslmode=marker@h", UrlError::Unescaped),
            ("postgres://u:p@h/d#marker", UrlError::Fragment),
            ("postgres://u:p@h:marker/d", UrlError::Malformed),
            ("postgres://u:p@h:99999/d", UrlError::Malformed),
            ("postgres://u:p@h1:1,marker:2/d", UrlError::SeveralHosts),
            ("postgres://u:p@/d?host=h1,marker", UrlError::SeveralHosts),
            ("host=h password=marker", UrlError::KeywordsAndValues),
            ("postgres://u:p@h/d?connect_timeout=marker", UrlError::Malformed),
            ("postgres://u:p@h/d?sslmode=marker", UrlError::Malformed),
            ("postgres://u:p@h/d?port=marker", UrlError::Malformed),
            ("postgres://u:p@h/d?hostaddr=marker", UrlError::Malformed),
            ("postgres://u:p@h/d?statement-cache-capacity=marker", UrlError::Malformed),
            ("postgres://%ffmarker:p@h/d", UrlError::Malformed),
        ] {
            let refused = connect_options(url, "test").expect_err(url);
            assert!(matches!(&refused, ConnectError::Url(why) if *why == expected), "{url}");
            let shown = format!("{refused} {refused:?} {expected}");
            assert!(!shown.contains("marker"), "{shown}");
        }
    }

    #[test]
    fn what_the_driver_does_not_read_is_left_out_and_the_rest_arrives() {
        let url = "postgres://u:p%40%2F@h:1/d?channel_binding=marker&application_name=x&user=y";
        let options = connect_options(url, "test").expect("it can be read");
        assert_eq!((options.get_host(), options.get_port()), ("h", 1));
        assert_eq!((options.get_username(), options.get_database()), ("y", Some("d")));
        let readable = DatabaseUrl::parse(url).expect("it can be read").url;
        assert!(!readable.as_str().contains("marker"), "{readable}");
        assert_eq!(readable.password(), Some("p%40%2F"));
    }

    #[test]
    fn a_place_is_read_as_libpq_reads_it() {
        for (url, server) in [
            ("postgres://u:p@[::1]:5433/d", "[::1]:5433/d"),
            ("postgres://u:p@/d?host=h&port=5433", "h:5433/d"),
            ("postgres://u:p@/d?host=/run/postgresql", "/run/postgresql:5432/d"),
            ("postgres:///d?host=::1", "[::1]:5432/d"),
            ("postgres://u:p@h/d?connect_timeout=3", "h:5432/d"),
            ("postgres://h?dbname=d", "h:5432/d"),
        ] {
            let options = connect_options(url, "test").expect(url);
            assert_eq!(server_name(&options), server, "{url}");
        }
        let options = connect_options("postgres://a+b:c+d%26@/d?host=h", "test").expect("it is");
        assert_eq!(options.get_username(), "a+b");
    }
}
