//! Deliveries that somebody asks for again.

use sqlx::PgConnection;

use super::planning::Planned;
use crate::ids::EndpointId;

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
    let mut planned = sqlx::query_as!(
        Planned,
        r#"
        insert into deliveries.deliveries (event_seq, endpoint_id)
        select asked.seq, endpoint.id
        from unnest($1::bigint[]) as asked (seq)
        join deliveries.endpoints as endpoint on endpoint.id = $2 and endpoint.deleted_at is null
        order by asked.seq
        on conflict (event_seq, endpoint_id) do update
        set state = 'pending', reason = null, attempts = 0, finished_at = null
        where deliveries.state <> 'pending'
        returning
          event_seq as "event!", endpoint_id as "endpoint!: EndpointId",
          (select ordered from deliveries.endpoints where id = $2) as "ordered!"
        "#,
        events,
        endpoint.0,
    )
    .fetch_all(conn)
    .await?;
    planned.sort_unstable_by_key(|planned| planned.event);
    Ok(planned)
}

/// The events, at most `limit` after this one whose delivery to the endpoint failed,
/// in their order.
///
/// # Errors
///
/// When the database refuses.
pub async fn failed_after(
    conn: &mut PgConnection,
    endpoint: EndpointId,
    after: i64,
    limit: u16,
) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar!(
        "
        select event_seq from deliveries.deliveries
        where endpoint_id = $1 and state = 'failed' and event_seq > $2
        order by event_seq
        limit $3
        ",
        endpoint.0,
        after,
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
