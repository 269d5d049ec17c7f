//! Events: what has happened and is told to others, one row per outcome, written in the database
//! transaction of the outcome.
//!
//! - [`record`]: writes events.
//! - [`take`]: the next ones for a reader, in order, each once.
//! - [`reader`]: the same for whoever tells others outside of our transactions, and moves on then.
//! - [`find`], [`of_subject`], [`since`]: reading.
//! - [`pruning`]: drops what everybody has heard of long ago.
//!
//! ```text
//!   outcome ┐ one database       a reader ──take──▶ deliveries and mails ┐ one database
//!   event   ┘ transaction                           its place moves on   ┘ transaction
//! ```
//!
//! Events of one account are taken in the order in which their transactions were committed: whoever
//! writes one holds the account's lock until then. An event whose transaction commits late is taken
//! late, and never passed over. With each 500th event a snapshot is kept, and readers go from one
//! to the next: so the next events cost the same to find however many wait behind them.
//!
//! Deliberately absent: who is told, and by which way. That is for `deliveries`, `notices` and the
//! relay; `jobs::announcements` joins them.

mod event_type;
pub mod pruning;
pub mod reader;
mod reading;

use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;

pub use event_type::{EventType, UnknownEventType};
pub use reading::{find, last_taken, of_subject, place_before, since};

use crate::ids::EventId;

/// An event that is about to be written.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// By which the world knows it.
    pub id: EventId,
    /// The type.
    pub event_type: EventType,
    /// The transaction or order that it is about, in a form that the edge has chosen.
    pub subject: String,
    /// The JSON that is sent, byte by byte.
    pub body: String,
    /// The moment of the outcome.
    pub occurred_at: OffsetDateTime,
    /// The W3C trace context in which it happened, as JSON.
    pub trace_context: Option<serde_json::Value>,
}

/// A stored event.
#[derive(Clone, Debug)]
pub struct Event {
    /// The number of the event: of two events of one account, the earlier has the lower one.
    pub seq: i64,
    /// By which the world knows it.
    pub id: EventId,
    /// The type, in its stored form.
    pub event_type: String,
    /// The transaction or order that it is about.
    pub subject: String,
    /// The JSON that is sent, byte by byte.
    pub body: String,
    /// The moment of the outcome.
    pub occurred_at: OffsetDateTime,
    /// The W3C trace context in which it happened, as JSON.
    pub trace_context: Option<serde_json::Value>,
}

/// Writes these events by one statement, in their order.
///
/// # Errors
///
/// When the database refuses.
pub async fn record(conn: &mut PgConnection, events: &[NewEvent]) -> sqlx::Result<()> {
    let ids: Vec<uuid::Uuid> = events.iter().map(|event| event.id.0).collect();
    let types: Vec<&str> = events.iter().map(|event| event.event_type.as_str()).collect();
    let subjects: Vec<&str> = events.iter().map(|event| event.subject.as_str()).collect();
    let bodies: Vec<&str> = events.iter().map(|event| event.body.as_str()).collect();
    let moments: Vec<OffsetDateTime> = events.iter().map(|event| event.occurred_at).collect();
    let contexts: Vec<Option<Json<&serde_json::Value>>> =
        events.iter().map(|event| event.trace_context.as_ref().map(Json)).collect();
    sqlx::query!(
        "
        insert into events.events (id, type, subject, body, occurred_at, trace_context)
        select id, type, subject, body, occurred_at, trace_context
        from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::jsonb[])
          with ordinality as event (id, type, subject, body, occurred_at, trace_context, position)
        order by position
        ",
        &ids,
        &types as &[&str],
        &subjects as &[&str],
        &bodies as &[&str],
        &moments,
        &contexts as &[Option<Json<&serde_json::Value>>],
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes the next events of a reader, at most `limit`, in their order. Once the caller's
/// transaction is committed, nobody takes them again; of several who take for one reader, one does
/// at a time. Fewer than `limit` means that there are no more for now. A reader that is new begins
/// with the events that are written from now on.
///
/// # Errors
///
/// When the database refuses.
pub async fn take(conn: &mut PgConnection, reader: &str, limit: u16) -> sqlx::Result<Vec<Event>> {
    sqlx::query_as!(
        Event,
        r#"
        select
          seq as "seq!", id as "id!: EventId", type as "event_type!", subject as "subject!",
          body as "body!", occurred_at as "occurred_at!", trace_context
        from events.take($1, $2)
        "#,
        reader,
        i32::from(limit),
    )
    .fetch_all(conn)
    .await
}
