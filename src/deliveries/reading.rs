//! Deliveries and attempts, for those who look at them.

use sqlx::{PgConnection, Postgres, QueryBuilder};
use time::OffsetDateTime;
use uuid::Uuid;

use super::outgoing::{DeliveryKey, DeliveryState};
use crate::ids::{EndpointId, EventId};

/// A stored delivery.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct DeliveryOverview {
    /// The number of the event.
    pub event: i64,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// By which the receiver knows the event.
    pub event_id: EventId,
    /// The name of the event's type.
    pub event_type: String,
    /// The state.
    pub state: DeliveryState,
    /// The reason of a failure, as a stable code.
    pub reason: Option<String>,
    /// The failed attempts since it was made or asked for again, and the one that ended it.
    pub attempts: i32,
    /// The moment at which it was made.
    pub created_at: OffsetDateTime,
    /// The moment of its end.
    pub finished_at: Option<OffsetDateTime>,
}

impl DeliveryOverview {
    /// The delivery that it is.
    #[must_use]
    pub fn key(&self) -> DeliveryKey {
        DeliveryKey { event: self.event, endpoint: self.endpoint }
    }
}

/// The newest `limit` deliveries to an endpoint, newest event first; with `before`, only those of
/// events before that one; with `state`, only those in it.
///
/// # Errors
///
/// When the database refuses.
pub async fn list(
    conn: &mut PgConnection,
    endpoint: EndpointId,
    state: Option<DeliveryState>,
    before: Option<i64>,
    limit: u16,
) -> sqlx::Result<Vec<DeliveryOverview>> {
    sqlx::query_as!(
        DeliveryOverview,
        r#"
        select
          delivery.event_seq as event, delivery.endpoint_id as "endpoint: EndpointId",
          event.id as "event_id: EventId", event.type as event_type,
          delivery.state as "state: DeliveryState", delivery.reason, delivery.attempts,
          delivery.created_at, delivery.finished_at
        from deliveries.deliveries as delivery
        join events.events as event on event.seq = delivery.event_seq
        where delivery.endpoint_id = $1
          and ($2::deliveries.state is null or delivery.state = $2)
          and delivery.event_seq < $3
        order by delivery.event_seq desc
        limit $4
        "#,
        endpoint.0,
        state as Option<DeliveryState>,
        before.unwrap_or(i64::MAX),
        i64::from(limit),
    )
    .fetch_all(conn)
    .await
}

/// The most rows that one page of [`browse`] looks at, however few of them match.
const MAX_LOOKED_AT: i64 = 5_000;

/// The filter of [`browse`]; every part that is set must match.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// The endpoint.
    pub endpoint: Option<EndpointId>,
    /// The state.
    pub state: Option<DeliveryState>,
}

/// A page of deliveries.
#[derive(Clone, Debug)]
pub struct Page {
    /// The deliveries, newest event first.
    pub deliveries: Vec<DeliveryOverview>,
    /// The delivery that the next page goes on behind; none if there is no next page.
    pub next: Option<DeliveryKey>,
}

/// The newest deliveries that match, to all endpoints where the filter names none: at most `limit`
/// of those behind `before`. A page looks at a bounded number of rows, so that it may be empty and
/// still say where to go on.
///
/// # Errors
///
/// When the database refuses.
pub async fn browse(
    conn: &mut PgConnection,
    filter: Filter,
    before: Option<DeliveryKey>,
    limit: u16,
) -> sqlx::Result<Page> {
    let mut query = looked_at(filter, before);
    query.push(
        "select
           delivery.event_seq as event, delivery.endpoint_id as endpoint, event.id as event_id,
           event.type as event_type, delivery.state, delivery.reason, delivery.attempts,
           delivery.created_at, delivery.finished_at
         from looked_at as delivery
         join events.events as event on event.seq = delivery.event_seq
         where true",
    );
    if let Some(state) = filter.state {
        query.push(" and delivery.state = ").push_bind(state);
    }
    query.push(" order by delivery.event_seq desc, delivery.endpoint_id desc limit ");
    query.push_bind(i64::from(limit) + 1);
    let mut deliveries: Vec<DeliveryOverview> =
        query.build_query_as().fetch_all(&mut *conn).await?;
    if deliveries.len() > usize::from(limit) {
        deliveries.truncate(usize::from(limit));
        let next = deliveries.last().map(DeliveryOverview::key);
        return Ok(Page { deliveries, next });
    }
    let mut query = looked_at(filter, before);
    query.push("select event_seq, endpoint_id from looked_at offset ");
    query.push_bind(MAX_LOOKED_AT - 1).push(" limit 1");
    let last: Option<(i64, Uuid)> = query.build_query_as().fetch_optional(conn).await?;
    let next = last.map(|(event, id)| DeliveryKey { event, endpoint: EndpointId(id) });
    Ok(Page { deliveries, next })
}

/// The beginning of a statement, with the rows that a page looks at as `looked_at`.
fn looked_at(filter: Filter, before: Option<DeliveryKey>) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(
        "with looked_at as (
           select
             event_seq, endpoint_id, state, reason, attempts, created_at, finished_at
           from deliveries.deliveries
           where true",
    );
    if let Some(endpoint) = filter.endpoint {
        query.push(" and endpoint_id = ").push_bind(endpoint);
        if filter.state == Some(DeliveryState::Failed) {
            // As the partial index has it.
            query.push(" and state = 'failed'");
        }
    }
    if let Some(before) = before {
        query.push(" and (event_seq, endpoint_id) < (").push_bind(before.event);
        query.push(", ").push_bind(before.endpoint).push(")");
    }
    query.push(" order by event_seq desc, endpoint_id desc limit ").push_bind(MAX_LOOKED_AT);
    query.push(") ");
    query
}

/// The delivery of an event to an endpoint, if there is one.
///
/// # Errors
///
/// When the database refuses.
pub async fn find(
    conn: &mut PgConnection,
    key: DeliveryKey,
) -> sqlx::Result<Option<DeliveryOverview>> {
    sqlx::query_as!(
        DeliveryOverview,
        r#"
        select
          delivery.event_seq as event, delivery.endpoint_id as "endpoint: EndpointId",
          event.id as "event_id: EventId", event.type as event_type,
          delivery.state as "state: DeliveryState", delivery.reason, delivery.attempts,
          delivery.created_at, delivery.finished_at
        from deliveries.deliveries as delivery
        join events.events as event on event.seq = delivery.event_seq
        where delivery.event_seq = $1 and delivery.endpoint_id = $2
        "#,
        key.event,
        key.endpoint.0,
    )
    .fetch_optional(conn)
    .await
}

/// The deliveries of an event, at most `limit`, in the order of the endpoints.
///
/// # Errors
///
/// When the database refuses.
pub async fn of_event(
    conn: &mut PgConnection,
    event: i64,
    limit: u16,
) -> sqlx::Result<Vec<DeliveryOverview>> {
    sqlx::query_as!(
        DeliveryOverview,
        r#"
        select
          delivery.event_seq as event, delivery.endpoint_id as "endpoint: EndpointId",
          event.id as "event_id: EventId", event.type as event_type,
          delivery.state as "state: DeliveryState", delivery.reason, delivery.attempts,
          delivery.created_at, delivery.finished_at
        from deliveries.deliveries as delivery
        join events.events as event on event.seq = delivery.event_seq
        where delivery.event_seq = $1
        order by delivery.endpoint_id
        limit $2
        "#,
        event,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await
}

/// An attempt, as it was recorded.
#[derive(Clone, Debug)]
pub struct StoredAttempt {
    /// The moment of the record, once the attempt had ended.
    pub at: OffsetDateTime,
    /// The status of the answer.
    pub status: Option<i32>,
    /// The trouble, as a stable code.
    pub error: Option<String>,
    /// The trouble in more words.
    pub detail: Option<String>,
    /// The time that it took, in milliseconds.
    pub duration_ms: i32,
    /// The address that was connected to.
    pub address: Option<String>,
    /// The beginning of the answer.
    pub answer: String,
}

/// The last `limit` attempts of a delivery, the first of them first.
///
/// # Errors
///
/// When the database refuses.
pub async fn attempts(
    conn: &mut PgConnection,
    key: DeliveryKey,
    limit: u16,
) -> sqlx::Result<Vec<StoredAttempt>> {
    sqlx::query_as!(
        StoredAttempt,
        r#"
        select
          at as "at!", status, error, detail, duration_ms as "duration_ms!", address,
          answer as "answer!"
        from (
          select id, at, status, error, detail, duration_ms, address, answer
          from deliveries.attempts
          where event_seq = $1 and endpoint_id = $2
          order by id desc
          limit $3
        ) as last
        order by id
        "#,
        key.event,
        key.endpoint.0,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await
}
