//! Reading events, by their ids, subjects and times.

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::Event;
use crate::ids::EventId;

/// The event with this id, if any.
///
/// # Errors
///
/// When the database refuses.
pub async fn find(conn: &mut PgConnection, id: EventId) -> sqlx::Result<Option<Event>> {
    sqlx::query_as!(
        Event,
        r#"
        select
          seq, id as "id: EventId", type as event_type, subject, body, occurred_at, trace_context
        from events.events
        where id = $1
        "#,
        id.0,
    )
    .fetch_optional(conn)
    .await
}

/// The events about a transaction or order, the first one first.
///
/// # Errors
///
/// When the database refuses.
pub async fn of_subject(conn: &mut PgConnection, subject: &str) -> sqlx::Result<Vec<Event>> {
    sqlx::query_as!(
        Event,
        r#"
        select
          seq, id as "id: EventId", type as event_type, subject, body, occurred_at, trace_context
        from events.events
        where subject = $1
        order by seq
        "#,
        subject,
    )
    .fetch_all(conn)
    .await
}

/// The events since a moment, in the order of their numbers, at most `limit` of those after `after`
/// and up to `until`.
///
/// # Errors
///
/// When the database refuses.
pub async fn since(
    conn: &mut PgConnection,
    since: OffsetDateTime,
    (after, until): (i64, i64),
    limit: u16,
) -> sqlx::Result<Vec<Event>> {
    sqlx::query_as!(
        Event,
        r#"
        select
          seq, id as "id: EventId", type as event_type, subject, body, occurred_at, trace_context
        from events.events
        where seq > $1 and seq <= $2 and occurred_at >= $3
        order by seq
        limit $4
        "#,
        after,
        until,
        since,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await
}

/// The number before the first event since a moment, where [`since`] is to begin; that of the last
/// event when there is none.
///
/// # Errors
///
/// When the database refuses.
pub async fn place_before(conn: &mut PgConnection, since: OffsetDateTime) -> sqlx::Result<i64> {
    let place = sqlx::query_scalar!(
        r#"
        select coalesce(
          -- An expression, so that no plan walks all events from the first one on.
          (select min(seq + 0) - 1 from events.events where occurred_at >= $1),
          (select max(seq) from events.events),
          0
        ) as "place!"
        "#,
        since,
    );
    place.fetch_one(conn).await
}

/// The number of the last event that a reader has taken; 0 when it has taken none.
///
/// # Errors
///
/// When the database refuses.
pub async fn last_taken(conn: &mut PgConnection, reader: &str) -> sqlx::Result<i64> {
    let last = sqlx::query_scalar!("select highest from events.readers where name = $1", reader);
    Ok(last.fetch_optional(conn).await?.unwrap_or_default())
}
