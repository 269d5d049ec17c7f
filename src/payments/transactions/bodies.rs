//! Bodies of webhooks: the evidence of what was received, for as long as it is wanted.

use sqlx::PgConnection;

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
/// because the clock is in doubt, none is dropped. Gives the number of transactions that need not
/// be looked at any more; fewer than `limit` when the next one is too young.
///
/// # Errors
///
/// When the database refuses.
pub async fn drop_bodies(conn: &mut PgConnection, keep_days: u16, limit: u16) -> sqlx::Result<u64> {
    let passed = sqlx::query_scalar!(
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
        -- too young.
        old as materialized (
          select *
          from next
          where id < coalesce(
            (select min(id) from next where created_at >= (select since from kept)),
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
            and old.status in ('COMPLETED', 'FAILED')
            and not exists (
              select from payments.transaction_conflicts as conflict
              where conflict.transaction_id = old.transaction_id and conflict.resolution is null
            )
        ),
        moved as (
          update payments.dropped_bodies set up_to = (select max(id) from old)
          where exists (select from old)
        )
        select count(*) as "passed!" from old
        "#,
        i32::from(keep_days),
        i64::from(limit),
    )
    .fetch_one(conn)
    .await?;
    Ok(u64::try_from(passed).unwrap_or_default())
}
