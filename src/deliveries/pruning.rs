//! Retention of deliveries and their attempts.

use sqlx::PgConnection;

use super::outgoing::DeliveryKey;
use crate::ids::EndpointId;

/// Drops deliveries that ended more than `keep_days` days ago, with all of their attempts, among
/// the next `limit` after this one. Pending ones are kept, however old. While the queue's history
/// is held back because the clock is in doubt, none is dropped. Gives the number of those dropped,
/// and the last delivery that was looked at; none when all those behind it are kept.
///
/// # Errors
///
/// When the database refuses.
pub async fn prune(
    conn: &mut PgConnection,
    keep_days: u16,
    after: DeliveryKey,
    limit: u16,
) -> sqlx::Result<(i64, Option<DeliveryKey>)> {
    let row = sqlx::query!(
        r#"
        with kept as materialized (select queue.old_before($1) as since),
        looked_at as materialized (
          select event_seq, endpoint_id, created_at
          from deliveries.deliveries
          where (event_seq, endpoint_id) > ($2, $3)
          order by event_seq, endpoint_id
          limit $4
        ),
        -- Somebody may be asking for one again.
        old as materialized (
          select delivery.event_seq, delivery.endpoint_id
          from looked_at
          cross join kept
          join deliveries.deliveries as delivery using (event_seq, endpoint_id)
          where delivery.state <> 'pending' and delivery.finished_at < kept.since
          order by delivery.event_seq, delivery.endpoint_id
          for update of delivery skip locked
        ),
        attempts as (
          delete from deliveries.attempts
          using old
          where attempts.event_seq = old.event_seq and attempts.endpoint_id = old.endpoint_id
        ),
        pruned as (
          delete from deliveries.deliveries
          using old
          where deliveries.event_seq = old.event_seq and deliveries.endpoint_id = old.endpoint_id
          returning 1
        ),
        -- No delivery ends before it is made.
        last as (
          select event_seq, endpoint_id
          from looked_at
          where exists (
            select from looked_at as any_of_them where created_at < (select since from kept)
          )
          order by event_seq desc, endpoint_id desc
          limit 1
        )
        select
          (select count(*) from pruned) as "pruned!", last.event_seq as "event_seq?",
          last.endpoint_id as "endpoint_id?: EndpointId"
        from (values (1)) as one
        left join last on true
        "#,
        i32::from(keep_days),
        after.event,
        after.endpoint.0,
        i64::from(limit),
    )
    .fetch_one(conn)
    .await?;
    let last = row.event_seq.zip(row.endpoint_id);
    let last = last.map(|(event, endpoint)| DeliveryKey { event, endpoint });
    Ok((row.pruned, last))
}
