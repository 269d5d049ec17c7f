//! The entries of transfers add up to zero: of each transfer that was written since the last whole
//! verification, a bounded number at each look, and of the newest ones at every look.
//!
//! What was added up is remembered by a mark, the id of the last such transfer, so no look does the
//! work of another one. Whole verifications answer for what was before: a later one begins the sums
//! anew, with the transfers that it found broken. Without one, the sums begin with the first
//! transfer there is.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use tokio::time::Instant;
use uuid::Uuid;

use super::money::number;
use crate::ids::first_uuid_at;
use crate::metrics::instruments::{LEDGER_CHECKED_LAG, LEDGER_IMBALANCE};
use crate::metrics::{Family, Point};
use crate::operations::verify;

/// Ids are in the order of the clocks of workers, and transfers are seen once they are committed:
/// the mark stays so far behind the database's clock. A transfer that comes later than that with an
/// id below the mark is added up by the next whole verification.
const MARK_BEHIND: Duration = Duration::seconds(30);
/// The transfers of one statement, which answers long before the server ends it.
const TRANSFERS_AT_ONCE: i64 = 5_000;
/// No further statement is begun in a look after this: other figures are waited for, too.
const CATCH_UP_WITHIN: std::time::Duration = std::time::Duration::from_millis(400);

/// The transfers that looks of before have added up.
#[derive(Debug, Default)]
pub struct LedgerMark {
    /// The moment of the verification that answers for all before; none if there was none yet.
    verified_at: Option<OffsetDateTime>,
    /// The last transfer that was added up for good.
    last: Uuid,
    /// The sums of the entries of those after the verification up to the last one, by currency.
    sums: BTreeMap<String, Decimal>,
}

impl LedgerMark {
    /// Begins anew after a verification that was not known yet.
    fn begin_after(&mut self, verified_at: Option<OffsetDateTime>) {
        if self.verified_at != verified_at {
            let last = verified_at.map_or(Uuid::nil(), |at| first_uuid_at(at - MARK_BEHIND));
            *self = Self { verified_at, last, sums: BTreeMap::new() };
        }
    }
}

/// The sums by currency, and how far they lag behind.
pub(super) async fn ledger(
    conn: &mut PgConnection,
    mark: &mut LedgerMark,
) -> Result<Vec<Family>, sqlx::Error> {
    let now = crate::operations::database_now(&mut *conn).await?;
    mark.begin_after(verify::last(&mut *conn).await?.map(|last| last.at));
    let lag = catch_up(&mut *conn, mark, now).await?;
    let mut sums = mark.sums.clone();
    for (currency, sum) in newest(&mut *conn, mark.last).await? {
        *sums.entry(currency).or_default() += sum;
    }
    for (currency, sum) in found_broken(conn).await? {
        *sums.entry(currency).or_default() += sum;
    }
    let points = sums.iter().map(|(currency, sum)| Point::of(&[currency.as_str()], number(*sum)));
    Ok(vec![
        Family::new(&LEDGER_IMBALANCE, points.collect()),
        Family::single(&LEDGER_CHECKED_LAG, lag.as_seconds_f64().max(0.0)),
    ])
}

/// Moves the mark, and gives the age of the transfer at which it stopped; zero if it did not.
async fn catch_up(
    conn: &mut PgConnection,
    mark: &mut LedgerMark,
    now: OffsetDateTime,
) -> Result<Duration, sqlx::Error> {
    let began = Instant::now();
    let until = first_uuid_at(now - MARK_BEHIND);
    while began.elapsed() < CATCH_UP_WITHIN {
        let rows = sqlx::query!(
            r#"
            select
              next.currency,
              coalesce(sum(written.amount), 0) as "imbalance!",
              count(*) as "transfers!",
              (array_agg(next.id order by next.id desc))[1] as "last!"
            from (
              select id, currency from payments.transfers
              where id > $1 and id < $2
              order by id
              limit $3
            ) as next
            cross join lateral (
              select sum(amount) as amount from payments.entries where transfer_id = next.id
            ) as written
            group by next.currency
            "#,
            mark.last,
            until,
            TRANSFERS_AT_ONCE,
        )
        .fetch_all(&mut *conn)
        .await?;
        let transfers: i64 = rows.iter().map(|row| row.transfers).sum();
        for row in rows {
            mark.last = mark.last.max(row.last);
            *mark.sums.entry(row.currency).or_default() += row.imbalance;
        }
        if transfers < TRANSFERS_AT_ONCE {
            return Ok(Duration::ZERO);
        }
    }
    Ok(mark.last.get_timestamp().map_or(Duration::ZERO, |reached| {
        let (secs, _) = reached.to_unix();
        let secs = i64::try_from(secs).unwrap_or_default();
        Duration::seconds(now.unix_timestamp() - secs)
    }))
}

/// The sums of the newest transfers, as far as they are after the mark; zero for those before, so
/// that a currency is shown while nothing moves.
async fn newest(
    conn: &mut PgConnection,
    after: Uuid,
) -> Result<Vec<(String, Decimal)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select newest.currency, coalesce(sum(written.amount), 0) as "imbalance!"
        from (
          select id, currency from payments.transfers order by id desc limit $2
        ) as newest
        left join lateral (
          select sum(amount) as amount from payments.entries
          where transfer_id = newest.id and newest.id > $1
        ) as written on true
        group by newest.currency
        "#,
        after,
        TRANSFERS_AT_ONCE,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.currency, row.imbalance)).collect())
}

/// The sums, as they are now, of the transfers that the last verification gave as examples of
/// broken ones.
async fn found_broken(conn: &mut PgConnection) -> Result<Vec<(String, Decimal)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        with last as (
          select report from audit.verifications where report is not null order by id desc limit 1
        ),
        broken as materialized (
          select substring(sample #>> '{}' from '^transfer ([0-9a-f-]{36})$')::uuid as id
          from last
          cross join lateral jsonb_path_query(
            last.report, '$.invariants[*] ? (@.name == "entries-sum-to-zero").samples[*]'
          ) as sample
        )
        select transfer.currency, coalesce(sum(written.amount), 0) as "imbalance!"
        from broken
        join payments.transfers as transfer on transfer.id = broken.id
        cross join lateral (
          select sum(amount) as amount from payments.entries where transfer_id = transfer.id
        ) as written
        group by transfer.currency
        "#
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.currency, row.imbalance)).collect())
}
