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

/// The events since a moment, in the order of their numbers, at most `limit` of those after
/// `after`.
///
/// # Errors
///
/// When the database refuses.
pub async fn since(
    conn: &mut PgConnection,
    since: OffsetDateTime,
    after: i64,
    limit: u16,
) -> sqlx::Result<Vec<Event>> {
    sqlx::query_as!(
        Event,
        r#"
        select
          seq, id as "id: EventId", type as event_type, subject, body, occurred_at, trace_context
        from events.events
        where seq > $1 and occurred_at >= $2
        order by seq
        limit $3
        "#,
        after,
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
          (select min(seq) - 1 from events.events where occurred_at >= $1),
          (select max(seq) from events.events),
          0
        ) as "place!"
        "#,
        since,
    );
    place.fetch_one(conn).await
}
