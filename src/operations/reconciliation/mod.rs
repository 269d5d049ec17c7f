//! Reconciliation: compares our ledger, our log of calls to the bank, and the bank's statement.
//!
//! - Here: the comparison.
//! - `queries`: the statements that find the differences.
//! - `views`: the comparison as JSON.
//!
//! The statement is read first, into a temporary table, with no transaction open; our books after
//! it, all from one snapshot. So whatever the statement lists is seen here as it stands at a later
//! moment; and what we have posted counts as missing there only if it was posted before the first
//! page was asked for. What is booked meanwhile is therefore never taken for a break.
//!
//! Memory does not grow with the number of orders and bookings: a page of the statement, one row of
//! the comparison, and the breaks that are shown. The database joins and sorts within its
//! `work_mem`, and on disk beyond that.

mod queries;
mod views;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use rust_decimal::Decimal;
use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

pub use self::views::{ComparisonSummary, amount_text};

use self::queries::{BREAKS, TOTALS};
use crate::bank::{BankClient, BankError, Direction, EffectKey, StatementLine};
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

/// The scope of a comparison.
#[derive(Clone, Debug)]
pub struct CompareBooks {
    /// The time since which something was booked or finished; everything if none.
    pub since: Option<Since>,
    /// The time for which an order may be unfinished.
    pub settle_within: Duration,
    /// The most breaks that are kept; all are counted.
    pub limit: usize,
}

/// A comparison that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReconciliationError {
    /// The bank did not answer.
    #[error("the bank's statement cannot be read")]
    Statement(#[source] BankError),
    /// The bank's pages do not lead on.
    #[error("the bank's statement goes back from {after} to {next}")]
    StatementGoesBack {
        /// The number that the page was asked for with.
        after: u64,
        /// The number that it gave for the next one.
        next: u64,
    },
    /// The database refused or did not answer.
    #[error("the database refused or did not answer")]
    Database(#[from] sqlx::Error),
}

/// The differences between the two sides.
#[derive(Debug)]
pub struct Comparison {
    /// The time at which our books were read.
    pub compared_at: OffsetDateTime,
    /// The number of bookings of the statement.
    pub bookings: u64,
    /// The breaks and what is in flight, as many as were to be kept.
    pub breaks: Vec<Break>,
    /// The number of breaks of each type.
    pub counts: BTreeMap<String, u64>,
    /// The sums of each currency and direction.
    pub totals: Vec<Total>,
}

impl Comparison {
    /// True if the two sides differ.
    pub fn has_breaks(&self) -> bool {
        self.counts.keys().any(|kind| kind != IN_FLIGHT)
    }
}

/// The beginning of a comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Since {
    /// This moment.
    Moment(OffsetDateTime),
    /// This long ago, by the database's clock.
    Age(Duration),
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
    /// The status of our order.
    pub status: Option<String>,
    /// Deposit or withdrawal, in our books.
    pub direction_here: Option<String>,
    /// The amount that we posted, or would post.
    pub amount_here: Option<Decimal>,
    /// Its currency.
    pub currency_here: Option<String>,
    /// Deposit or withdrawal, in the statement.
    pub direction_there: Option<String>,
    /// The amount that the bank booked.
    pub amount_there: Option<Decimal>,
    /// Its currency.
    pub currency_there: Option<String>,
    /// The bank's reference.
    pub bank_reference: Option<String>,
    /// The time of the bank's booking, or else of our posting, or else of our order.
    pub since: OffsetDateTime,
    /// The age of `since`, in seconds.
    pub age_secs: f64,
    /// The operation and the outcome of our last call about it.
    pub last_call: Option<String>,
}

impl Break {
    /// The age of [`Self::since`], in whole seconds.
    #[must_use]
    pub fn age(&self) -> Duration {
        // A query never gives less than zero.
        Duration::from_secs(Duration::from_secs_f64(self.age_secs.max(0.0)).as_secs())
    }
}

/// The sums of one currency and direction.
#[derive(Clone, PartialEq, Debug, sqlx::FromRow)]
pub struct Total {
    /// The currency.
    pub currency: String,
    /// Deposits or withdrawals.
    pub direction: String,
    /// The sum that we posted.
    pub here: Decimal,
    /// The sum that the bank booked.
    pub there: Decimal,
}

/// Compares the two sides.
///
/// # Errors
///
/// [`ReconciliationError`].
pub async fn compare(
    conn: &mut PgConnection,
    bank: &BankClient,
    request: &CompareBooks,
) -> Result<Comparison, ReconciliationError> {
    sqlx::raw_sql(PREPARE).execute(&mut *conn).await?;
    let asked_at: OffsetDateTime =
        sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut *conn).await?;
    let since = request.since.map(|since| match since {
        Since::Moment(moment) => moment,
        Since::Age(age) => asked_at - age,
    });
    let bookings = load_statement(conn, bank).await?;
    sqlx::raw_sql("analyze statement_lines").execute(&mut *conn).await?;

    let mut tx = conn.begin_with("begin isolation level repeatable read read only").await?;
    let compared_at: OffsetDateTime =
        sqlx::query_scalar("select now()").fetch_one(&mut *tx).await?;
    let (mut breaks, mut counts) = (Vec::new(), BTreeMap::new());
    let mut found = sqlx::query_as::<_, Break>(BREAKS)
        .bind(asked_at)
        .bind(since)
        .bind(request.settle_within.as_secs_f64())
        .fetch(&mut *tx);
    while let Some(one) = found.try_next().await? {
        *counts.entry(one.kind.clone()).or_insert(0) += 1;
        if breaks.len() < request.limit {
            breaks.push(one);
        }
    }
    drop(found);
    let totals =
        sqlx::query_as::<_, Total>(TOTALS).bind(asked_at).bind(since).fetch_all(&mut *tx).await?;
    tx.rollback().await?;
    Ok(Comparison { compared_at, bookings, breaks, counts, totals })
}

/// Reads the whole statement, page by page.
async fn load_statement(
    conn: &mut PgConnection,
    bank: &BankClient,
) -> Result<u64, ReconciliationError> {
    let (mut after, mut bookings) = (0, 0);
    loop {
        let page = bank.statement(after).await.map_err(ReconciliationError::Statement)?;
        bookings += page.lines.len() as u64;
        store(conn, &page.lines).await?;
        let Some(next) = page.next else { return Ok(bookings) };
        if next <= after {
            return Err(ReconciliationError::StatementGoesBack { after, next });
        }
        after = next;
    }
}

async fn store(conn: &mut PgConnection, lines: &[StatementLine]) -> Result<(), sqlx::Error> {
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

/// The order that this is the key of, if it is the key of one.
fn order_of(key: &EffectKey) -> Option<Uuid> {
    let id: Uuid = key.as_str().strip_prefix("surety-")?.parse().ok()?;
    // A UUID can be written in many ways; the key is one of them.
    (EffectKey::of_order(OrderId(id)) == *key).then_some(id)
}
