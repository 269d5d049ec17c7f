//! Bodies of webhooks: the evidence of what was received, for as long as it is wanted.

use sqlx::PgConnection;

use crate::payments::PruningStep;

/// The body of a transaction, as it was first received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// It is kept, byte by byte.
    Kept(Vec<u8>),
    /// It was dropped after its time, and this is its SHA-256.
    Dropped(Vec<u8>),
}

/// The body of the transaction with this id of the provider's, if there is one.
///
/// # Errors
///
/// When the database refuses.
pub async fn body_of(conn: &mut PgConnection, transaction_id: &str) -> sqlx::Result<Option<Body>> {
    let found = sqlx::query!(
        "select body, body_sha256 from payments.transactions where transaction_id = $1",
        transaction_id,
    );
    let found = found.fetch_optional(conn).await?;
    Ok(found.and_then(|row| {
        let dropped = row.body_sha256.map(Body::Dropped);
        row.body.map(Body::Kept).or(dropped)
    }))
}

/// Drops the bodies of transactions that were received more than `keep_days` days ago and are
/// final, among the next `limit`, and leaves their hashes. Those that are not final then, or whose
/// conflict nobody has decided over, keep theirs for good. While the queue's history is held back
/// because the clock is in doubt, none is dropped.
///
/// # Errors
///
/// When the database refuses.
pub async fn drop_bodies(
    conn: &mut PgConnection,
    keep_days: u16,
    limit: u16,
) -> sqlx::Result<PruningStep> {
    let step = sqlx::query!(
        r#"
        with place as materialized (select up_to from payments.dropped_bodies for update),
        kept as materialized (select queue.old_before($1) as since),
        next as materialized (
          select id, transaction_id, status, created_at
          from payments.transactions
          where id > (select up_to from place)
          order by id
          limit $2
        ),
        -- Numbers are given out a little before or after the clock is read: up to the first that is
        -- too young. A moment that is still to come says that the clock was wrong when it was
        -- written, and holds up nobody.
        old as materialized (
          select *
          from next
          where id < coalesce(
            (
              select min(id)
              from next
              where created_at between (select since from kept) and clock_timestamp()
            ),
            9223372036854775807
          )
            and (select since from kept) is not null
        ),
        dropped as (
          update payments.transactions as transaction
          set body_sha256 = sha256(body), body = null
          from old
          where transaction.id = old.id
            and transaction.body is not null
            and old.created_at < (select since from kept)
            and old.status in ('COMPLETED', 'FAILED')
            and not exists (
              select from payments.transaction_conflicts as conflict
              where conflict.transaction_id = old.transaction_id and conflict.resolution is null
            )
          returning transaction.id
        ),
        moved as (
          update payments.dropped_bodies set up_to = (select max(id) from old)
          where exists (select from old)
        )
        select
          (select count(*) from old) as "passed!",
          (select count(*) from dropped) as "dropped!"
        "#,
        i32::from(keep_days),
        i64::from(limit),
    )
    .fetch_one(conn)
    .await?;
    Ok(PruningStep { passed: step.passed.cast_unsigned(), dropped: step.dropped.cast_unsigned() })
}
