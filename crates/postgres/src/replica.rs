//! Reads by a hot standby, and how far behind they may be.
//!
//! The age of what a standby shows is measured, and not taken from its word: every now and then the
//! primary is asked how far its log goes, and whatever the standby has replayed of it is at most as
//! old as that question. So neither clocks that differ nor a quiet primary make it seem older or
//! younger, and a standby that has lost its primary grows older by itself.
//!
//! Whoever is no standby of this primary gives no connection: another server, one that was
//! promoted, or a database that is not there.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::connect::{ConnectError, connect, connect_options, server_name};

/// The time between two looks at both servers.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The longest that one server may take to answer a look.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The longest that a reader waits for a connection, before it asks the primary.
const CONNECT_WITHIN: Duration = Duration::from_millis(500);

/// A standby of a primary, for reads. Its clones share it.
#[derive(Clone, Debug)]
pub struct Replica {
    shared: Arc<Shared>,
    _follower: Arc<Follower>,
}

/// A connection to a standby, and how old at most is what it shows.
#[derive(Debug)]
pub struct ReplicaConnection {
    /// The connection.
    pub conn: PoolConnection<Postgres>,
    /// The greatest age of what it shows when it was handed out.
    pub age: Duration,
}

#[derive(Debug)]
struct Shared {
    server: String,
    max_age: Duration,
    /// None until the standby was reached for the first time.
    pool: OnceLock<PgPool>,
    /// The moment of which, or of a later one, the standby shows the state.
    fresh_as_of: Mutex<Option<Instant>>,
}

/// The task that looks; it ends with this.
#[derive(Debug)]
struct Follower(AbortHandle);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The reasons for which a standby is of no use.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Unreachable(#[from] ConnectError),
    #[error("it does not answer as it should")]
    Refused(#[source] sqlx::Error),
    #[error("it did not answer within {} s", ANSWER_WITHIN.as_secs())]
    Silent,
    #[error("it is a server of its own, and no standby")]
    NoStandby,
    #[error("it follows another server than the one that is written to")]
    OfAnother,
    #[error("it is further behind than {}", humantime(*.0))]
    TooOld(Duration),
    #[error("the primary cannot say how far it is")]
    NoPrimary,
}

impl Replica {
    /// Follows the standby at `url` with a pool of at most `max_connections`. It need not be there
    /// yet, and gives no connection until it is, and while it is more than `max_age` behind.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`].
    pub fn follow(
        primary: PgPool,
        url: &str,
        max_connections: u32,
        application_name: &'static str,
        max_age: Duration,
    ) -> Result<Self, ConnectError> {
        let server = server_name(&connect_options(url, application_name)?);
        let shared = Arc::new(Shared {
            server,
            max_age,
            pool: OnceLock::new(),
            fresh_as_of: Mutex::new(None),
        });
        let following = Following {
            shared: Arc::clone(&shared),
            primary,
            url: url.to_owned(),
            max_connections,
            application_name,
            asked: VecDeque::new(),
        };
        let follower = tokio::spawn(following.run());
        Ok(Self { shared, _follower: Arc::new(Follower(follower.abort_handle())) })
    }

    /// A connection, if what it shows is young enough and there is one at once.
    pub async fn connection(&self) -> Option<ReplicaConnection> {
        self.age()?;
        let pool = self.shared.pool.get()?;
        let conn = timeout(CONNECT_WITHIN, pool.acquire()).await.ok()?.ok()?;
        Some(ReplicaConnection { conn, age: self.age()? })
    }

    /// The greatest age of what the standby shows; none while it is of no use.
    pub fn age(&self) -> Option<Duration> {
        self.shared.age().filter(|age| *age <= self.shared.max_age)
    }
}

impl Shared {
    fn age(&self) -> Option<Duration> {
        let moment = *self.fresh_as_of.lock().unwrap_or_else(PoisonError::into_inner);
        moment.map(|moment| moment.elapsed())
    }

    fn set(&self, moment: Option<Instant>) {
        *self.fresh_as_of.lock().unwrap_or_else(PoisonError::into_inner) = moment;
    }
}

/// The task that looks, with what it knows.
struct Following {
    shared: Arc<Shared>,
    primary: PgPool,
    url: String,
    max_connections: u32,
    application_name: &'static str,
    /// The answers of the primary that the standby has yet to replay.
    asked: VecDeque<Asked>,
}

impl Following {
    async fn run(mut self) {
        let mut told = None;
        loop {
            let found = self.look().await;
            let said = found.as_ref().err().map(ToString::to_string);
            if told.as_ref() != Some(&said) {
                let server = &self.shared.server;
                match &found {
                    Ok(()) => tracing::info!(server, "lists, pages and reports read the replica"),
                    Err(why) => tracing::warn!(
                        server,
                        error = why as &(dyn std::error::Error + 'static),
                        "lists, pages and reports read the primary, as the replica is of no use",
                    ),
                }
                told = Some(said);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Asks both servers. Without an answer of the primary what is known grows older by itself.
    async fn look(&mut self) -> Result<(), Unusable> {
        let max_age = self.shared.max_age;
        let moment = Instant::now();
        if let Ok((system, end)) = within(end_of_log(&self.primary)).await {
            self.asked.push_back(Asked { system, end, moment });
        }
        while self.asked.front().is_some_and(|it| it.moment.elapsed() > max_age) {
            self.asked.pop_front();
        }
        match self.ask_replica().await {
            Ok(Some(moment)) => self.shared.set(Some(moment)),
            Ok(None) => {}
            Err(why) => {
                self.shared.set(None);
                return Err(why);
            }
        }
        match self.shared.age().is_some_and(|age| age <= max_age) {
            true => Ok(()),
            false if self.asked.is_empty() => Err(Unusable::NoPrimary),
            false => Err(Unusable::TooOld(max_age)),
        }
    }

    async fn ask_replica(&mut self) -> Result<Option<Instant>, Unusable> {
        let pool = match self.shared.pool.get() {
            Some(pool) => pool,
            None => {
                let pool = connect(&self.url, self.max_connections, self.application_name).await?;
                self.shared.pool.get_or_init(|| pool)
            }
        };
        fresh_as_of(within(replayed(pool)).await?, &mut self.asked)
    }
}

/// An answer of the primary.
#[derive(Clone, Copy, Debug)]
struct Asked {
    system: i64,
    end: i64,
    moment: Instant,
}

/// An answer of the standby.
#[derive(Clone, Copy, Debug)]
struct Replayed {
    system: i64,
    /// None when it follows nobody.
    end: Option<i64>,
}

/// The last of these moments whose log the standby has replayed; it and those before it are taken
/// out. None when there is none of them yet.
fn fresh_as_of(
    standby: Replayed,
    asked: &mut VecDeque<Asked>,
) -> Result<Option<Instant>, Unusable> {
    let replayed = standby.end.ok_or(Unusable::NoStandby)?;
    if asked.back().is_some_and(|primary| primary.system != standby.system) {
        return Err(Unusable::OfAnother);
    }
    let known = asked.iter().rposition(|it| it.end <= replayed);
    Ok(known.and_then(|last| asked.drain(..=last).next_back()).map(|it| it.moment))
}

async fn within<T>(asking: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Unusable> {
    let answered = timeout(ANSWER_WITHIN, asking).await.map_err(|_elapsed| Unusable::Silent)?;
    answered.map_err(Unusable::Refused)
}

/// The identity of the primary, and the end of what it has written to its log.
async fn end_of_log(primary: &PgPool) -> Result<(i64, i64), sqlx::Error> {
    sqlx::query_as(
        "select system_identifier, (pg_current_wal_insert_lsn() - '0/0')::bigint
         from pg_control_system()",
    )
    .fetch_one(primary)
    .await
}

/// The identity of a server, and the end of what it has replayed, if it is a standby.
async fn replayed(replica: &PgPool) -> Result<Replayed, sqlx::Error> {
    let (system, end) = sqlx::query_as(
        "select
           system_identifier,
           case when pg_is_in_recovery() then (pg_last_wal_replay_lsn() - '0/0')::bigint end
         from pg_control_system()",
    )
    .fetch_one(replica)
    .await?;
    Ok(Replayed { system, end })
}

fn humantime(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(ends: &[i64]) -> VecDeque<Asked> {
        let began = Instant::now();
        let at = |(n, end): (usize, &i64)| Asked {
            system: 1,
            end: *end,
            moment: began + Duration::from_secs(n as u64),
        };
        ends.iter().enumerate().map(at).collect()
    }

    #[test]
    fn what_was_replayed_is_as_young_as_the_last_question_before_it() {
        let mut known = asked(&[10, 20, 30]);
        let second = known[1].moment;
        let standby = Replayed { system: 1, end: Some(29) };
        assert_eq!(fresh_as_of(standby, &mut known).expect("it is a standby"), Some(second));
        // The third is still to come, and no other is told twice.
        assert_eq!(fresh_as_of(standby, &mut known).expect("it is a standby"), None);
        let standby = Replayed { system: 1, end: Some(30) };
        assert!(fresh_as_of(standby, &mut known).expect("it is a standby").is_some());
        assert!(known.is_empty());
    }

    #[test]
    fn a_quiet_primary_makes_nothing_old() {
        let mut known = asked(&[10, 10, 10]);
        let last = known[2].moment;
        let standby = Replayed { system: 1, end: Some(10) };
        assert_eq!(fresh_as_of(standby, &mut known).expect("it is a standby"), Some(last));
    }

    #[test]
    fn who_is_no_standby_of_the_primary_is_of_no_use() {
        let refusal = |standby| fresh_as_of(standby, &mut asked(&[10])).expect_err("it is none");
        let promoted = Replayed { system: 1, end: None };
        assert!(matches!(refusal(promoted), Unusable::NoStandby));
        let of_another = Replayed { system: 2, end: Some(10) };
        assert!(matches!(refusal(of_another), Unusable::OfAnother));
    }
}
