//! Readers that tell others before they move on: a broker is no part of our transactions, so
//! nothing may be taken from the stream before the broker has it.
//!
//! ```text
//!   hold ─▶ peek ─▶ the broker confirms ─▶ move on ─▶ peek …
//! ```
//!
//! Each is one statement, and no transaction is open between them. One process holds a reader, by a
//! lease in the reader's row. The lease saves work, and order does not hang on it: whoever peeks
//! begins at the same place, tells in order, and moves only what it holds, so that two who tell
//! at the same time repeat each other, and neither tells an event before those that come first.

use std::time::Duration;

use sqlx::PgConnection;
use sqlx::postgres::types::PgInterval;
use uuid::Uuid;

use super::Event;
use crate::ids::EventId;

/// `object_not_in_prerequisite_state`, by which the database refuses who does not hold the reader.
const NOT_HELD: &str = "55000";

/// The first event of a reader that is new.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// The first one that is written from now on.
    Now,
    /// The first one that was ever written.
    Beginning,
}

/// The right to read for a reader, until its lease is over.
#[derive(Clone, Debug)]
pub struct Held {
    reader: String,
    holder: Uuid,
    lease: PgInterval,
}

/// The events that are next, or that somebody else reads them now.
#[derive(Debug)]
pub enum Peeked {
    /// The next events in their order; none when there are none for now.
    Events(Vec<Event>),
    /// The lease was over, and another process holds the reader.
    HeldByAnother,
}

/// The distance between a reader and the last event.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Lag {
    /// Events after the last one that was moved over.
    pub events: i64,
    /// The age of the first of them, in seconds.
    pub seconds: f64,
}

/// Makes the reader, unless it is there. True if it is new.
///
/// # Errors
///
/// When the database refuses.
pub async fn begin(conn: &mut PgConnection, reader: &str, start: Start) -> sqlx::Result<bool> {
    // A place of before a restore is read from the first event on.
    let made = sqlx::query!(
        "
        insert into events.readers (name, seen, highest)
        select
          $1,
          case
            when $2 then '9223372036854775807:9223372036854775807:'
            else pg_current_snapshot()
          end,
          case when $2 then 0 else coalesce((select max(seq) from events.events), 0) end
        on conflict (name) do nothing
        ",
        reader,
        start == Start::Beginning,
    );
    Ok(made.execute(conn).await?.rows_affected() > 0)
}

/// The right to read for this reader, for at most `lease` without a [`Held::peek`], which must be
/// less than a day; `None` while another process has it, or when there is no such reader.
///
/// # Errors
///
/// When the database refuses.
pub async fn hold(
    conn: &mut PgConnection,
    reader: &str,
    lease: Duration,
) -> sqlx::Result<Option<Held>> {
    let microseconds = i64::try_from(lease.as_micros()).unwrap_or(i64::MAX);
    let lease = PgInterval { months: 0, days: 0, microseconds };
    let holder = Uuid::now_v7();
    let held = sqlx::query!(
        "
        update events.readers
        set holder = $2, held_until = clock_timestamp() + $3::interval
        where name = $1 and (held_until is null or held_until < clock_timestamp())
        ",
        reader,
        holder,
        &lease,
    );
    let is_held = held.execute(conn).await?.rows_affected() > 0;
    Ok(is_held.then(|| Held { reader: reader.to_owned(), holder, lease }))
}

/// The distance of this reader from the last event.
///
/// # Errors
///
/// When the database refuses.
pub async fn lag(conn: &mut PgConnection, reader: &str) -> sqlx::Result<Lag> {
    // An event that was committed after one with a higher number is not counted. Nobody waits long
    // for such a one.
    sqlx::query_as!(
        Lag,
        r#"
        with place as (select highest from events.readers where name = $1),
        first as (
          select occurred_at from events.events, place where seq > highest order by seq limit 1
        )
        select
          (select count(*) from events.events, place where seq > highest) as "events!",
          coalesce(
            (select extract(epoch from clock_timestamp() - occurred_at) from first), 0
          )::float8 as "seconds!"
        "#,
        reader,
    )
    .fetch_one(conn)
    .await
}

impl Held {
    /// The next events, at most `limit`, in their order, and for half of the lease or longer the
    /// right to tell them. They stay where they are.
    ///
    /// # Errors
    ///
    /// When the database refuses.
    pub async fn peek(&self, conn: &mut PgConnection, limit: u16) -> sqlx::Result<Peeked> {
        let peeked = sqlx::query_as!(
            Event,
            r#"
            select
              seq as "seq!", id as "id!: EventId", type as "event_type!", subject as "subject!",
              body as "body!", occurred_at as "occurred_at!", trace_context
            from events.peek($1, $2, $3, $4)
            "#,
            &self.reader,
            self.holder,
            &self.lease,
            i32::from(limit),
        );
        match peeked.fetch_all(conn).await {
            Ok(events) => Ok(Peeked::Events(events)),
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(NOT_HELD) => {
                Ok(Peeked::HeldByAnother)
            }
            Err(error) => Err(error),
        }
    }

    /// Moves the reader behind the event of this number, the last one of those that were told.
    /// False when another process holds the reader: it tells them again.
    ///
    /// # Errors
    ///
    /// When the database refuses.
    pub async fn move_on(&self, conn: &mut PgConnection, seq: i64) -> sqlx::Result<bool> {
        sqlx::query_scalar!(
            r#"select events.move_on($1, $2, $3) as "moved!""#,
            &self.reader,
            self.holder,
            seq,
        )
        .fetch_one(conn)
        .await
    }

    /// Leaves the reader to whoever wants it next.
    ///
    /// # Errors
    ///
    /// When the database refuses. The lease then ends by itself.
    pub async fn let_go(self, conn: &mut PgConnection) -> sqlx::Result<()> {
        sqlx::query!(
            "
            update events.readers set holder = null, held_until = null
            where name = $1 and holder = $2
            ",
            &self.reader,
            self.holder,
        )
        .execute(conn)
        .await?;
        Ok(())
    }
}
