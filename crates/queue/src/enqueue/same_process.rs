//! Workers in the process of whoever enqueues: they are woken without a way through the database,
//! which is as long as the claim that follows.

use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use sqlx::postgres::PgConnectOptions;
use tokio::sync::Notify;
use uuid::Uuid;

/// The databases that this process enqueues or works in, by their addresses.
static DATABASES: LazyLock<Mutex<Vec<Arc<SameProcess>>>> = LazyLock::new(Mutex::default);

/// The workers of this process that work in a database. One that is reached by two addresses counts
/// as two.
#[derive(Debug)]
pub(crate) struct SameProcess {
    address: Address,
    /// The payload of the notifications that follow a [`Self::wake`].
    token: String,
    workers: Mutex<Vec<Weak<Notify>>>,
}

#[derive(PartialEq, Eq, Debug)]
struct Address {
    host: String,
    port: u16,
    database: Option<String>,
}

impl SameProcess {
    /// Those of the database with this address.
    pub(crate) fn at(options: &PgConnectOptions) -> Arc<Self> {
        let host = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => options.get_host().to_owned(),
        };
        let database = options.get_database().map(str::to_owned);
        let address = Address { host, port: options.get_port(), database };
        let mut databases = DATABASES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = databases.iter().find(|known| known.address == address) {
            return Arc::clone(known);
        }
        let token = Uuid::now_v7().to_string();
        let new = Arc::new(Self { address, token, workers: Mutex::default() });
        databases.push(Arc::clone(&new));
        new
    }

    /// Adds a worker, which is woken by this for as long as it is there.
    pub(crate) fn add(&self, wake: &Arc<Notify>) {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.retain(|worker| worker.strong_count() > 0);
        workers.push(Arc::downgrade(wake));
    }

    /// Wakes them. A notification with [`Self::token`] must follow, for all others.
    pub(crate) fn wake(&self) {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        for worker in workers.iter().filter_map(Weak::upgrade) {
            worker.notify_one();
        }
    }

    /// Tells the notifications apart that these workers were woken before.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn at(url: &str) -> Arc<SameProcess> {
        SameProcess::at(&PgConnectOptions::from_str(url).unwrap())
    }

    #[tokio::test]
    async fn workers_of_the_same_database_are_woken_and_no_others() {
        let [same, other] = [Arc::new(Notify::new()), Arc::new(Notify::new())];
        at("postgres://ada@h:1/same").add(&same);
        at("postgres://ada@h:1/other").add(&other);
        // Whoever asks, and whatever else is set.
        let known = at("postgres://ben@h:1/same?application_name=x");
        known.wake();

        let soon = Duration::from_millis(50);
        assert!(timeout(soon, same.notified()).await.is_ok());
        assert!(timeout(soon, other.notified()).await.is_err());
        assert_eq!(known.token(), at("postgres://h:1/same").token());
        assert_ne!(known.token(), at("postgres://h:1/other").token());
    }
}
