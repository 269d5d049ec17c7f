//! Reads by hot standbys, and how far behind they may be.
//!
//! The age of what a standby shows is measured, and not taken from its word: twice a second the
//! primary is asked how far its log goes, and whoever has replayed that much shows nothing older
//! than the question. So neither clocks that differ nor a quiet primary make a standby seem older
//! or younger than it is, and one that has lost its primary grows older by itself.
//!
//! Each connection is asked before it is handed out, so that it does not matter which of several
//! standbys an address leads to. No connection is given of whoever is no standby of this primary:
//! another server or another database of it, one that was promoted, one that follows a primary of
//! before a failover.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::connect::{ConnectError, connect, connect_options, pool_like, server_name};

/// The time between two questions to the primary.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// The longest that the primary may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The longest that it may take to reach a standby for the first time.
const REACH_WITHIN: Duration = Duration::from_secs(10);
/// The longest that a reader waits for a connection to a standby, before it asks the primary.
const CONNECT_WITHIN: Duration = Duration::from_millis(500);
/// The time for which nobody tries a standby again that was of no use.
const PAUSE: Duration = Duration::from_secs(2);
/// The size of a page of the log, unless a server was built with another, and of its headers: of
/// most pages, and of the first page of a file.
const PAGE: i64 = 8192;
const HEADER: i64 = 24;
const FILE_HEADER: i64 = 40;

/// The standbys of a primary, for reads. Its clones share them.
#[derive(Clone, Debug)]
pub struct Replica {
    shared: Arc<Shared>,
    _asker: Arc<Asker>,
}

/// A connection to a standby.
#[derive(Debug)]
pub struct ReplicaConnection {
    /// The connection.
    pub conn: PoolConnection<Postgres>,
    /// The moment whose state it shows, if not that of a later one.
    pub as_of: Instant,
}

/// The use that is made of the standbys at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplicaUse {
    /// They are read; otherwise the primary is, because they are of no use or nobody has asked yet.
    pub is_read: bool,
    /// The age of what the last reader found there, as it began.
    pub last_age: Option<Duration>,
}

#[derive(Debug)]
struct Shared {
    server: String,
    max_age: Duration,
    /// None until a standby was reached for the first time.
    pool: OnceLock<PgPool>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The answers of the primary: all that are no older than the greatest age, and the last one
    /// before them, if the primary was never silent for so long since.
    answers: VecDeque<Answer>,
    /// Nobody is to try a standby before this moment.
    paused_until: Option<Instant>,
    /// The reason that was last told, or that all is well.
    told: Option<Result<(), String>>,
    /// The age of what the connection shows that was last handed out.
    last_age: Option<Duration>,
}

/// The task that asks the primary; it ends with this.
#[derive(Debug)]
struct Asker(AbortHandle);

impl Drop for Asker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A database, and the history that its log belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Log {
    system: i64,
    database: i64,
    timeline: i64,
}

/// An answer of the primary.
#[derive(Clone, Copy, Debug)]
struct Answer {
    log: Log,
    end: i64,
    moment: Instant,
}

/// The reasons for which a standby is of no use.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("it was not reached yet: {0}")]
    NotReached(String),
    #[error("it does not answer within {} ms", CONNECT_WITHIN.as_millis())]
    Silent,
    #[error("it does not answer as it should: {0}")]
    Refused(sqlx::Error),
    #[error("it is a server of its own, and no standby")]
    NoStandby,
    #[error("it does not follow the database that is written to")]
    OfAnother,
    #[error("it is further behind than {} s", .0.as_secs_f64())]
    TooOld(Duration),
    #[error("the primary has not said for {} s how far it is", .0.as_secs_f64())]
    NoPrimary(Duration),
    #[error("a read failed there: {0}")]
    Failed(String),
}

impl Replica {
    /// Reads by the standbys at `url`, by a pool of at most `max_connections`. They need not be
    /// there yet. None gives a connection while it is more than `max_age` behind.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`].
    pub fn follow(
        primary: &PgPool,
        url: &str,
        max_connections: u32,
        application_name: &'static str,
        max_age: Duration,
    ) -> Result<Self, ConnectError> {
        let server = server_name(&connect_options(url, application_name)?);
        let (pool, state) = (OnceLock::new(), Mutex::default());
        let shared = Arc::new(Shared { server, max_age, pool, state });
        let asking = Arc::clone(&shared);
        // Readers of a busy process must not keep the question from being asked.
        let primary = pool_like(primary, 1);
        let url = url.to_owned();
        let asker = tokio::spawn(async move {
            loop {
                asking.ask(&primary).await;
                asking.reach(&url, max_connections, application_name).await;
                sleep(ASK_EVERY).await;
            }
        });
        Ok(Self { shared, _asker: Arc::new(Asker(asker.abort_handle())) })
    }

    /// A connection, if there is one at once and what it shows is young enough.
    pub async fn connection(&self) -> Option<ReplicaConnection> {
        let shared = &self.shared;
        if shared.is_paused() {
            return None;
        }
        match shared.connect().await {
            Ok(Some(connected)) => {
                shared.tell(Ok(()));
                shared.state().last_age = Some(connected.as_of.elapsed());
                Some(connected)
            }
            Ok(None) => None,
            Err(why) => {
                shared.pause(&why);
                None
            }
        }
    }

    /// Keeps readers away for a moment, as a read failed for this reason.
    pub fn distrust(&self, reason: String) {
        self.shared.pause(&Unusable::Failed(reason));
    }

    /// The use that is made of the standbys now, for figures.
    pub fn usage(&self) -> ReplicaUse {
        let state = self.shared.state();
        ReplicaUse { is_read: matches!(state.told, Some(Ok(()))), last_age: state.last_age }
    }

    /// The greatest age that what a connection shows has when it is handed out.
    pub fn max_age(&self) -> Duration {
        self.shared.max_age
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, primary: &PgPool) {
        let moment = Instant::now();
        let answer = timeout(ANSWER_WITHIN, end_of_log(primary)).await;
        if let Ok(Ok((log, end))) = answer {
            self.state().keep(Answer { log, end, moment }, self.max_age);
        }
    }

    /// Opens the pool, once a standby is there.
    async fn reach(&self, url: &str, max_connections: u32, application_name: &str) {
        if self.pool.get().is_some() || self.is_paused() {
            return;
        }
        let reaching = timeout(REACH_WITHIN, connect(url, max_connections, application_name));
        match reaching.await {
            Ok(Ok(pool)) => drop(self.pool.set(pool)),
            Ok(Err(error)) => {
                let source = std::error::Error::source(&error);
                let source = source.map(|source| format!(": {source}")).unwrap_or_default();
                self.pause(&Unusable::NotReached(format!("{error}{source}")));
            }
            Err(_elapsed) => self.pause(&Unusable::NotReached("it takes too long".to_owned())),
        }
    }

    fn is_paused(&self) -> bool {
        self.state().paused_until.is_some_and(|until| Instant::now() < until)
    }

    /// A connection and its moment; none when that is not known yet, or all are in use.
    async fn connect(&self) -> Result<Option<ReplicaConnection>, Unusable> {
        let Some(pool) = self.pool.get() else { return Ok(None) };
        let mut conn = match timeout(CONNECT_WITHIN, pool.acquire()).await {
            Ok(acquired) => acquired.map_err(Unusable::Refused)?,
            Err(_elapsed) if pool.size() >= pool.options().get_max_connections() => {
                return Ok(None);
            }
            Err(_elapsed) => return Err(Unusable::Silent),
        };
        let asked = timeout(CONNECT_WITHIN, replayed(&mut conn)).await;
        let (log, replayed) =
            asked.map_err(|_elapsed| Unusable::Silent)?.map_err(Unusable::Refused)?;
        let as_of = self.state().as_of(log, replayed, self.max_age)?;
        Ok(as_of.map(|as_of| ReplicaConnection { conn, as_of }))
    }

    fn pause(&self, why: &Unusable) {
        self.state().paused_until = Some(Instant::now() + PAUSE);
        self.tell(Err(why.to_string()));
    }

    /// Says it once.
    fn tell(&self, found: Result<(), String>) {
        let mut state = self.state();
        if state.told.as_ref() == Some(&found) {
            return;
        }
        let server = &self.server;
        match &found {
            Ok(()) => tracing::info!(server, "lists, pages and reports read the replica"),
            Err(why) => tracing::warn!(
                server,
                "lists, pages and reports read the primary, as the replica is of no use: {why}"
            ),
        }
        state.told = Some(found);
    }
}

impl State {
    fn keep(&mut self, answer: Answer, max_age: Duration) {
        let is_old = |it: &Answer| it.moment.elapsed() > max_age;
        if self.answers.back().is_some_and(is_old) {
            self.answers.clear();
        }
        while self.answers.get(1).is_some_and(is_old) {
            self.answers.pop_front();
        }
        self.answers.push_back(answer);
    }

    /// The last moment by which the log ended before what was replayed; none when it was asked too
    /// late to know.
    fn as_of(
        &self,
        log: Log,
        replayed: Option<i64>,
        max_age: Duration,
    ) -> Result<Option<Instant>, Unusable> {
        let replayed = replayed.ok_or(Unusable::NoStandby)?;
        let is_young = |it: &&Answer| it.moment.elapsed() <= max_age;
        let last = self.answers.back().filter(is_young).ok_or(Unusable::NoPrimary(max_age))?;
        if last.log != log {
            return Err(Unusable::OfAnother);
        }
        let known = self.answers.iter().rev().find(|it| it.log == log && it.end <= replayed);
        let has_asked_long = self.answers.front().is_some_and(|it| !is_young(&it));
        match known.filter(is_young) {
            Some(answer) => Ok(Some(answer.moment)),
            None if has_asked_long => Err(Unusable::TooOld(max_age)),
            None => Ok(None),
        }
    }
}

/// The log that is written to, and its end.
async fn end_of_log(primary: &PgPool) -> Result<(Log, i64), sqlx::Error> {
    let (system, database, file, end, file_size): (i64, i64, String, i64, i64) = sqlx::query_as(
        "select
           system_identifier,
           (select oid::bigint from pg_database where datname = current_database()),
           pg_walfile_name(pg_current_wal_insert_lsn()),
           (pg_current_wal_insert_lsn() - '0/0')::bigint,
           pg_size_bytes(current_setting('wal_segment_size'))
         from pg_control_system()",
    )
    .fetch_one(primary)
    .await?;
    // See XLogFileName: the first 8 digits are the timeline.
    let timeline = file.get(..8).and_then(|digits| i64::from_str_radix(digits, 16).ok());
    let timeline = timeline.ok_or_else(|| sqlx::Error::Protocol(format!("no log file: {file}")))?;
    Ok((Log { system, database, timeline }, without_header(end, file_size)))
}

/// The end of the last record. Where the next one begins on a new page, that is before the header
/// of the page, which nobody replays.
fn without_header(end: i64, file_size: i64) -> i64 {
    if end % file_size == FILE_HEADER {
        end - FILE_HEADER
    } else if end % PAGE == HEADER {
        end - HEADER
    } else {
        end
    }
}

/// The log that a server replays, and how far it is; none when it replays none.
async fn replayed(conn: &mut PgConnection) -> Result<(Log, Option<i64>), sqlx::Error> {
    let (system, database, timeline, end): (i64, i64, i64, Option<i64>) = sqlx::query_as(
        "select
           system_identifier,
           (select oid::bigint from pg_database where datname = current_database()),
           greatest(
             (select timeline_id from pg_control_checkpoint()),
             (select min_recovery_end_timeline from pg_control_recovery()),
             (select received_tli from pg_stat_wal_receiver)
           )::bigint,
           case when pg_is_in_recovery() then (pg_last_wal_replay_lsn() - '0/0')::bigint end
         from pg_control_system()",
    )
    .fetch_one(conn)
    .await?;
    Ok((Log { system, database, timeline }, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: Log = Log { system: 1, database: 2, timeline: 3 };
    const MAX_AGE: Duration = Duration::from_secs(10);

    /// One question a second, the last of them now.
    fn asked(ends: &[i64]) -> State {
        let now = Instant::now();
        let ago = |n: usize| now.checked_sub(Duration::from_secs(n as u64)).expect("it has run");
        let at = |(n, end): (usize, &i64)| Answer {
            log: LOG,
            end: *end,
            moment: ago(ends.len() - 1 - n),
        };
        let answers = ends.iter().enumerate().map(at).collect();
        State { answers, ..State::default() }
    }

    #[test]
    fn what_was_replayed_is_as_young_as_the_last_question_before_it() {
        let state = asked(&[10, 20, 30]);
        let moment = |replayed| state.as_of(LOG, Some(replayed), MAX_AGE).expect("it is a standby");
        assert_eq!(moment(29), Some(state.answers[1].moment));
        assert_eq!(moment(30), Some(state.answers[2].moment));
        assert_eq!(moment(9), None);
    }

    #[test]
    fn a_quiet_primary_makes_nothing_old() {
        let state = asked(&[10, 10, 10]);
        let as_of = state.as_of(LOG, Some(10), MAX_AGE).expect("it is a standby");
        assert_eq!(as_of, Some(state.answers[2].moment));
    }

    #[test]
    fn what_is_too_old_is_told_from_what_was_asked_too_late() {
        let short = Duration::from_millis(1500);
        let now = Answer { log: LOG, end: 40, moment: Instant::now() };
        let mut state = asked(&[10, 20, 30]);
        state.keep(now, short);
        // The last one before the greatest age stays, and shows that it was asked all the while.
        assert_eq!(state.answers.len(), 4);
        assert!(matches!(state.as_of(LOG, Some(9), short), Err(Unusable::TooOld(_))));
        assert!(matches!(state.as_of(LOG, Some(9), MAX_AGE), Ok(None)));

        // After a silence it begins anew.
        let mut state = asked(&[10, 20, 30]);
        state.answers.truncate(1);
        state.keep(now, short);
        assert_eq!(state.answers.len(), 1);
        assert!(matches!(state.as_of(LOG, Some(9), short), Ok(None)));
    }

    #[test]
    fn who_is_no_standby_of_the_primary_is_of_no_use() {
        let state = asked(&[10]);
        let refusal = |log, replayed| state.as_of(log, replayed, MAX_AGE).expect_err("it is none");
        assert!(matches!(refusal(LOG, None), Unusable::NoStandby));
        for other in
            [Log { system: 9, ..LOG }, Log { database: 9, ..LOG }, Log { timeline: 9, ..LOG }]
        {
            assert!(matches!(refusal(other, Some(10)), Unusable::OfAnother), "{other:?}");
        }
        let silent = State::default().as_of(LOG, Some(10), MAX_AGE);
        assert!(matches!(silent, Err(Unusable::NoPrimary(_))));
    }

    #[test]
    fn the_header_of_a_page_without_records_is_not_waited_for() {
        let file = 16 << 20;
        assert_eq!(without_header(file + FILE_HEADER, file), file);
        assert_eq!(without_header(PAGE + HEADER, file), PAGE);
        // The ends of records.
        for end in [PAGE, PAGE + 32, PAGE + FILE_HEADER, file, file + 48] {
            assert_eq!(without_header(end, file), end);
        }
    }
}
