//! Deliveries that somebody asks for again.

use sqlx::PgConnection;

use super::planning::Planned;
use crate::ids::{EndpointId, UserId};

/// Makes deliveries of these events to an endpoint, or makes those that are done with pending again
/// with the whole schedule before them. Gives those that need a job, in the order of the events:
/// one that is pending has its own.
///
/// # Errors
///
/// When the database refuses.
pub async fn send_again(
    conn: &mut PgConnection,
    endpoint: EndpointId,
    events: &[i64],
) -> sqlx::Result<Vec<Planned>> {
    // Rows are locked in the order of the events, as everywhere, and only those that change.
    sqlx::query_as!(
        Planned,
        r#"
        with ended as materialized (
          select event_seq
          from deliveries.deliveries
          where endpoint_id = $2 and event_seq = any ($1) and state <> 'pending'
          order by event_seq
          for no key update
        ),
        again as (
          update deliveries.deliveries as delivery
          set state = 'pending', reason = null, attempts = 0, finished_at = null
          from ended
          where delivery.endpoint_id = $2 and delivery.event_seq = ended.event_seq
          returning delivery.event_seq
        ),
        made as (
          insert into deliveries.deliveries (event_seq, endpoint_id)
          select asked.seq, $2
          from unnest($1::bigint[]) as asked (seq)
          where not exists (
            select from deliveries.deliveries as known
            where known.event_seq = asked.seq and known.endpoint_id = $2
          )
          order by asked.seq
          on conflict do nothing
          returning event_seq
        )
        select
          planned.event_seq as "event!", endpoint.id as "endpoint!: EndpointId",
          endpoint.owner_id as "owner?: UserId", endpoint.ordered as "ordered!"
        from (select event_seq from again union all select event_seq from made) as planned
        join deliveries.endpoints as endpoint on endpoint.id = $2
        order by planned.event_seq
        "#,
        events,
        endpoint.0,
    )
    .fetch_all(conn)
    .await
}

/// The events whose delivery to the endpoint failed, in their order: at most `limit` of those after
/// the first of these numbers and up to the second.
///
/// # Errors
///
/// When the database refuses.
pub async fn failed_after(
    conn: &mut PgConnection,
    endpoint: EndpointId,
    (after, until): (i64, i64),
    limit: u16,
) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar!(
        "
        select event_seq from deliveries.deliveries
        where endpoint_id = $1 and state = 'failed' and event_seq > $2 and event_seq <= $3
        order by event_seq
        limit $4
        ",
        endpoint.0,
        after,
        until,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await
}

/// The number of deliveries to an endpoint that failed, counted up to `most`.
///
/// # Errors
///
/// When the database refuses.
pub async fn count_failed(
    conn: &mut PgConnection,
    endpoint: EndpointId,
    most: i64,
) -> sqlx::Result<i64> {
    let count = sqlx::query_scalar!(
        r#"
        select count(*) as "count!"
        from (
          select from deliveries.deliveries
          where endpoint_id = $1 and state = 'failed'
          limit $2
        ) as failed
        "#,
        endpoint.0,
        most,
    );
    count.fetch_one(conn).await
}
