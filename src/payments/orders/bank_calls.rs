//! The calls to the bank that were made for orders: the evidence of how an order came to its
//! outcome, for as long as it is wanted.

use sqlx::PgConnection;

/// Drops the calls to the bank whose orders were finished more than `keep_days` days ago, among the
/// next `limit`. The calls of an order that was not finished by then are kept for good. While the
/// queue's history is held back because the clock is in doubt, none is dropped. Gives the number of
/// calls that need not be looked at any more; fewer than `limit` when the next one is too young.
///
/// # Errors
///
/// When the database refuses, as it does for the calls of orders that were finished in the last 31
/// days.
pub async fn drop_bank_calls(
    conn: &mut PgConnection,
    keep_days: u16,
    limit: u16,
) -> sqlx::Result<u64> {
    let passed = sqlx::query_scalar!(
        r#"
        with place as materialized (select up_to from bank.dropped_calls for update),
        kept as materialized (select queue.old_before($1) as since),
        next as materialized (
          select id, effect_key, started_at
          from bank.calls
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
            (select min(id) from next where started_at >= (select since from kept)),
            9223372036854775807
          )
            and (select since from kept) is not null
        ),
        finished as materialized (
          select old.id, given.finished_at
          from old
          join payments.orders as given on given.id = bank.order_of(old.effect_key)
          where given.finished_at < (select since from kept)
        ),
        dropped as (
          delete from bank.calls where id = any (array(select id from finished))
        ),
        moved as (
          update bank.dropped_calls
          set
            up_to = (select max(id) from old),
            finished_until = greatest(finished_until, (select max(finished_at) from finished))
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
