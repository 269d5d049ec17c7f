//! Wakes the worker when jobs were enqueued. Only a hint: polling is the truth, and a listener that
//! cannot listen costs at most a poll interval.
//!
//! Listening needs a session. Behind a connection pooler that has none for us, `LISTEN` would seem
//! to work, reach nobody, and stay behind in a session that others are given. So the listener first
//! finds out, and leaves it to polling.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{Row as _, raw_sql};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::enqueue::{CHANNEL, SameProcess};

const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// After so long without a word the connection is asked for one, because a peer that vanished says
/// nothing either.
const SILENCE: Duration = Duration::from_secs(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// A setting that is sent with the start of the connection, and which only a session keeps.
const SESSION_SETTING: (&str, &str) = ("surety.listener", "on");

/// Listens for ever, through lost connections and failovers; returns when there is no session to
/// listen in. What is told by this process itself is passed over: `same_process` has woken whoever
/// this would wake.
pub(crate) async fn listen(
    options: PgConnectOptions,
    same_process: Arc<SameProcess>,
    wake: Arc<Notify>,
) {
    let options = options.options([SESSION_SETTING]);
    loop {
        match listen_once(options.clone(), &same_process, &wake).await {
            Ok(()) => {}
            Err(NotListening::Database(error)) => {
                tracing::debug!(%error, "cannot listen for new jobs, polling goes on");
            }
            Err(NotListening::NoSession) => {
                tracing::info!("no session to listen in: new jobs are found by polling");
                return;
            }
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

/// The reason that the worker is not told of new jobs.
#[derive(Debug, thiserror::Error)]
enum NotListening {
    #[error("the connection goes through a pooler")]
    NoSession,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Listens until the connection is lost.
async fn listen_once(
    options: PgConnectOptions,
    same_process: &SameProcess,
    wake: &Notify,
) -> Result<(), NotListening> {
    // Each time another pool: a connection that does not answer never comes back to its own.
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ANSWER_WITHIN)
        .connect_lazy_with(options);
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.ignore_pool_close_event(true);
    // Not by itself: what is sent until it is back is missed. Were it given up half-way, because
    // `SILENCE` is over, its next question would connect without a word of that.
    listener.eager_reconnect(false);
    if !is_session(&mut listener).await? {
        return Err(NotListening::NoSession);
    }
    listener.listen(CHANNEL).await?;
    // What was sent before was not heard.
    wake.notify_one();
    loop {
        match timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(told))) if told.payload() == same_process.token() => {}
            Ok(Ok(Some(_notification))) => wake.notify_one(),
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error.into()),
            Err(_silence) => {
                let answer = timeout(ANSWER_WITHIN, is_session(&mut listener)).await;
                if !answer.map_err(|_| sqlx::Error::PoolTimedOut)?? {
                    return Ok(());
                }
            }
        }
    }
}

/// By the simple protocol, which is safe through any pooler.
async fn is_session(listener: &mut PgListener) -> Result<bool, sqlx::Error> {
    let question = "select coalesce(current_setting('surety.listener', true), '')";
    let kept: String = raw_sql(question).fetch_one(listener).await?.try_get(0)?;
    Ok(kept == SESSION_SETTING.1)
}
