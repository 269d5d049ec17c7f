//! Reads the bank's statement and our books, and finds where they differ.
//!
//! The statement is read first, into a temporary table, with no transaction open; our books after
//! it, all from one snapshot. So whatever the statement lists is seen here as it stands at a later
//! moment; and what we have posted counts as missing there only if it was posted before the first
//! page was asked for. What is booked meanwhile is therefore never taken for a break.
//!
//! Memory does not grow with the number of orders and bookings: a page of the statement, one row of
//! the comparison, and the breaks that are shown. The database joins and sorts within its
//! `work_mem`, and on disk beyond that.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::TryStreamExt as _;
use rust_decimal::Decimal;
use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::bank::{BankClient, Direction, EffectKey, StatementLine};
use crate::ids::OrderId;

/// Memory for each sort and hash: with PostgreSQL's default of 4 MB, a million rows spill to disk.
const PREPARE: &str = "
    set work_mem = '128MB';
    create temporary table statement_lines (
      position       bigint generated always as identity,
      effect_key     text collate \"C\" not null,
      order_id       uuid,
      direction      text not null,
      amount         numeric(18, 4) not null,
      currency       text not null,
      bank_reference text not null,
      booked_at      timestamptz not null
    )";

/// The name of the one type that is no break.
pub const IN_FLIGHT: &str = "in-flight";

/// What is to be compared.
#[derive(Clone, Debug)]
pub struct Question {
    /// Only what was booked or finished since then.
    pub since: Option<OffsetDateTime>,
    /// How long an order may be unfinished.
    pub settle_within: Duration,
    /// How many breaks are kept.
    pub limit: usize,
}

/// What was found.
#[derive(Debug)]
pub struct Comparison {
    /// When our books were read.
    pub compared_at: OffsetDateTime,
    /// How many bookings the statement has.
    pub bookings: u64,
    /// The breaks and what is in flight, as many as were to be kept.
    pub breaks: Vec<Break>,
    /// How many there are of each type.
    pub counts: BTreeMap<String, u64>,
    /// By currency and direction.
    pub totals: Vec<Total>,
}

impl Comparison {
    /// Whether the two sides differ.
    pub fn has_breaks(&self) -> bool {
        self.counts.keys().any(|kind| kind != IN_FLIGHT)
    }
}

/// A difference between the two sides.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Break {
    /// Its type.
    pub kind: String,
    /// Our order.
    pub order_id: Option<OrderId>,
    /// The key at the bank.
    pub effect_key: String,
    /// Where our order stands.
    pub status: Option<String>,
    /// Deposit or withdrawal, in our books.
    pub direction_here: Option<String>,
    /// What we posted, or would.
    pub amount_here: Option<Decimal>,
    /// Its currency.
    pub currency_here: Option<String>,
    /// Deposit or withdrawal, in the statement.
    pub direction_there: Option<String>,
    /// What the bank booked.
    pub amount_there: Option<Decimal>,
    /// Its currency.
    pub currency_there: Option<String>,
    /// What the bank calls it.
    pub bank_reference: Option<String>,
    /// Since when it stands: the bank's booking, or else our posting, or else our order.
    pub since: OffsetDateTime,
    /// How long that is ago.
    pub age_secs: f64,
    /// Our last call about it: what for, and what came of it.
    pub last_call: Option<String>,
}

/// All money of one currency that went one way.
#[derive(Clone, PartialEq, Debug, sqlx::FromRow)]
pub struct Total {
    /// The currency.
    pub currency: String,
    /// Deposits or withdrawals.
    pub direction: String,
    /// What we posted.
    pub here: Decimal,
    /// What the bank booked.
    pub there: Decimal,
}

/// Compares the two sides.
///
/// # Errors
///
/// When the bank or the database does not answer.
pub async fn compare(
    conn: &mut PgConnection,
    bank: &BankClient,
    question: &Question,
) -> anyhow::Result<Comparison> {
    sqlx::raw_sql(PREPARE).execute(&mut *conn).await?;
    let asked_at: OffsetDateTime =
        sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut *conn).await?;
    let bookings = load_statement(conn, bank).await?;
    sqlx::raw_sql("analyze statement_lines").execute(&mut *conn).await?;

    let mut tx = conn.begin_with("begin isolation level repeatable read read only").await?;
    let compared_at: OffsetDateTime =
        sqlx::query_scalar("select now()").fetch_one(&mut *tx).await?;
    let (mut breaks, mut counts) = (Vec::new(), BTreeMap::new());
    let mut found = sqlx::query_as::<_, Break>(BREAKS)
        .bind(asked_at)
        .bind(question.since)
        .bind(question.settle_within.as_secs_f64())
        .fetch(&mut *tx);
    while let Some(one) = found.try_next().await? {
        *counts.entry(one.kind.clone()).or_insert(0) += 1;
        if breaks.len() < question.limit {
            breaks.push(one);
        }
    }
    drop(found);
    let totals = sqlx::query_as::<_, Total>(TOTALS)
        .bind(asked_at)
        .bind(question.since)
        .fetch_all(&mut *tx)
        .await?;
    tx.rollback().await?;
    Ok(Comparison { compared_at, bookings, breaks, counts, totals })
}

/// Reads the whole statement, page by page.
async fn load_statement(conn: &mut PgConnection, bank: &BankClient) -> anyhow::Result<u64> {
    let (mut after, mut bookings) = (0, 0);
    loop {
        let page = bank.statement(after).await.context("the bank's statement cannot be read")?;
        bookings += page.lines.len() as u64;
        store(conn, &page.lines).await?;
        let Some(next) = page.next else { return Ok(bookings) };
        ensure!(next > after, "the bank's statement goes back from {after} to {next}");
        after = next;
    }
}

async fn store(conn: &mut PgConnection, lines: &[StatementLine]) -> anyhow::Result<()> {
    let keys: Vec<&str> = lines.iter().map(|line| line.effect_key.as_str()).collect();
    let orders: Vec<Option<Uuid>> = lines.iter().map(|line| order_of(&line.effect_key)).collect();
    let directions: Vec<&str> = lines
        .iter()
        .map(|line| match line.direction {
            Direction::Deposit => "deposit",
            Direction::Withdrawal => "withdrawal",
        })
        .collect();
    let amounts: Vec<Decimal> =
        lines.iter().map(|line| line.receipt.money.amount().as_decimal()).collect();
    let currencies: Vec<&str> =
        lines.iter().map(|line| line.receipt.money.currency().code()).collect();
    let references: Vec<&str> =
        lines.iter().map(|line| line.receipt.bank_reference.as_str()).collect();
    let moments: Vec<OffsetDateTime> = lines.iter().map(|line| line.booked_at).collect();
    // Checked at run time, as the compiler knows no temporary tables.
    sqlx::query(
        "insert into statement_lines
           (effect_key, order_id, direction, amount, currency, bank_reference, booked_at)
         select *
         from unnest(
           $1::text[], $2::uuid[], $3::text[], $4::numeric[], $5::text[], $6::text[],
           $7::timestamptz[]
         )",
    )
    .bind(keys)
    .bind(orders)
    .bind(directions)
    .bind(amounts)
    .bind(currencies)
    .bind(references)
    .bind(moments)
    .execute(conn)
    .await?;
    Ok(())
}

/// The order whose key this is, if it is one's.
fn order_of(key: &EffectKey) -> Option<Uuid> {
    let id: Uuid = key.as_str().strip_prefix("surety-")?.parse().ok()?;
    // A UUID can be written in many ways; the key is one of them.
    (EffectKey::of_order(OrderId(id)) == *key).then_some(id)
}

/// Each order that is for the bank beside each booking of its key, null where the other side has
/// none.
///
/// What is posted is the transfer's, not the order's: the ledger is what is compared. $1: when the
/// statement was asked for. $2: since when.
macro_rules! pairs {
    () => {
        "
    with line as (
      select *, row_number() over (partition by effect_key order by position) as number
      from statement_lines
    ),
    given as (
      select
        orders.id, orders.kind::text as direction, orders.status::text as status,
        orders.created_at, orders.finished_at, orders.bank_reference,
        transfers.id is not null as is_posted,
        coalesce(transfers.amount, orders.amount) as amount,
        coalesce(transfers.currency, orders.currency) as currency
      from payments.orders
      left join payments.transfers on transfers.order_id = orders.id
      where orders.kind in ('deposit', 'withdrawal')
    ),
    pair as (
      select
        given.id as order_id, given.status, given.direction as direction_here,
        given.amount as amount_here, given.currency as currency_here, given.is_posted,
        given.bank_reference as reference_here, given.created_at,
        -- Posted before the statement was asked for, so that it must be in it.
        given.finished_at <= $1 as was_finished,
        coalesce(line.effect_key, 'surety-' || given.id) as effect_key,
        line.number, line.direction as direction_there, line.amount as amount_there,
        line.currency as currency_there, line.bank_reference,
        coalesce(line.booked_at, given.finished_at, given.created_at) as since
      from given
      full join line on line.order_id = given.id
      where $2::timestamptz is null
        or coalesce(line.booked_at, given.finished_at, given.created_at) >= $2
    )"
    };
}

/// Oldest first. $3: the seconds that an order may be unfinished.
const BREAKS: &str = concat!(
    pairs!(),
    ",
    sent as (select distinct effect_key from bank.calls where operation = 'send'),
    judged as (
      select pair.*, found.kind
      from pair
      left join sent on sent.effect_key = pair.effect_key
      cross join lateral (
        select
          pair.status in ('PENDING', 'PROCESSING') as is_unfinished,
          now() - pair.created_at > make_interval(secs => $3) as is_late,
          pair.number is not null as is_booked
      ) as it
      cross join lateral (
        values
          ('unknown-key', pair.order_id is null and pair.number = 1),
          ('duplicate', pair.number > 1),
          ('missing-there', pair.status = 'COMPLETED' and pair.was_finished and not it.is_booked),
          (
            'missing-here',
            pair.number = 1 and (
              pair.status = 'FAILED'
              or (pair.status = 'COMPLETED' and not pair.is_posted)
              or (it.is_unfinished and it.is_late)
            )
          ),
          ('overdue', it.is_unfinished and it.is_late and not it.is_booked),
          ('in-flight', it.is_unfinished and not it.is_late and coalesce(pair.number = 1, true)),
          ('direction', pair.number = 1 and pair.direction_here <> pair.direction_there),
          ('currency', pair.number = 1 and pair.currency_here <> pair.currency_there),
          (
            'amount',
            pair.number = 1 and pair.currency_here = pair.currency_there
              and pair.amount_here <> pair.amount_there
          ),
          (
            'reference',
            pair.number = 1 and pair.status = 'COMPLETED'
              and pair.reference_here is distinct from pair.bank_reference
          ),
          (
            'unlogged',
            pair.number = 1 and pair.order_id is not null and sent.effect_key is null
          )
      ) as found (kind, is_so)
      where found.is_so
    )
    select
      kind, order_id, effect_key, status, direction_here, amount_here, currency_here,
      direction_there, amount_there, currency_there, bank_reference, since,
      -- The bank's clock may be ahead of ours.
      greatest(extract(epoch from now() - since), 0)::float8 as age_secs,
      (
        select format('%s %s', calls.operation, coalesce(calls.outcome::text, 'unanswered'))
        from bank.calls
        where calls.effect_key = judged.effect_key
        order by calls.id desc
        limit 1
      ) as last_call
    from judged
    order by since, effect_key, kind"
);

/// What was posted while the statement was read, and is not in it, is on neither side.
const TOTALS: &str = concat!(
    pairs!(),
    "
    select
      currency, direction, coalesce(sum(here), 0) as here, coalesce(sum(there), 0) as there
    from (
      select currency_here as currency, direction_here as direction, amount_here as here,
        null::numeric as there
      from pair
      where is_posted and coalesce(number = 1, was_finished)
      union all
      select currency_there, direction_there, null, amount_there
      from pair
      where number is not null
    ) as side
    group by currency, direction
    order by currency, direction"
);
