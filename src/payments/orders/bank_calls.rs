//! The calls to the bank that were made for orders: the evidence of how an order came to its
//! outcome, for as long as it is wanted.

use sqlx::PgConnection;

use crate::payments::PruningStep;

/// Drops the calls to the bank whose orders were finished more than `keep_days` days ago, among
/// those of the next `limit` calls. All calls of an order leave together, or none does: those of an
/// order that was not finished a week after the first are kept for good. Those behind a younger one
/// wait until it is old, too. While the clock is in doubt, none is dropped.
///
/// # Errors
///
/// When the database refuses, as it does for the calls of orders that were finished in the last 31
/// days.
pub async fn drop_bank_calls(
    conn: &mut PgConnection,
    keep_days: u16,
    limit: u16,
) -> sqlx::Result<PruningStep> {
    let step = sqlx::query!(
        r#"
        with place as materialized (select up_to from bank.dropped_calls for update),
        kept as materialized (select queue.old_before($1) as since),
        next as materialized (
          select call.id, call.effect_key, call.started_at, given.finished_at
          from (
            select * from bank.calls where id > (select up_to from place) order by id limit $2
          ) as call
          left join payments.orders as given on given.id = bank.order_of(call.effect_key)
        ),
        -- Numbers are given out a little before or after the clock is read: up to the first that is
        -- too young, or will be dropped within a week. A moment that is still to come says that the
        -- clock was wrong when it was written, and holds up nobody.
        old as materialized (
          select next.*
          from next
          cross join kept
          where next.id < coalesce(
            (
              select min(young.id)
              from next as young
              where young.started_at between kept.since and clock_timestamp()
                or (young.finished_at between kept.since and clock_timestamp()
                  and young.finished_at < young.started_at + interval '7 days')
            ),
            9223372036854775807
          )
            and kept.since is not null
        ),
        finished as materialized (
          select distinct old.effect_key
          from old
          where old.finished_at < (select since from kept)
            and not exists (
              select from bank.calls as stays
              where stays.effect_key = old.effect_key
                and (stays.id <= (select up_to from place)
                  or stays.started_at >= (select since from kept))
            )
        ),
        dropped as (
          delete from bank.calls
          where effect_key = any (array(select effect_key from finished))
          returning id
        ),
        moved as (
          update bank.dropped_calls set up_to = (select max(id) from old)
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
