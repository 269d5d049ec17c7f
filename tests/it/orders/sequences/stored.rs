//! What the database holds, and what the model says that it holds, in the same words.

use std::collections::BTreeMap;

use sqlx::PgPool;
use surety::ids::AccountId;
use surety::payments::wallets;
use uuid::Uuid;

use super::acting::Bank;
use crate::orders::model::{Model, Number, WALLETS};

/// Everything that users, and the bank, can see of the money.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Described {
    wallets: Vec<DescribedWallet>,
    /// The entries of the bank's accounts, by currency.
    bank: BTreeMap<String, Vec<i64>>,
    orders: BTreeMap<Uuid, DescribedOrder>,
}

#[derive(PartialEq, Eq, Debug)]
struct DescribedWallet {
    entries: Vec<i64>,
    balances_after: Vec<i64>,
    balance: String,
    available: String,
    held: i64,
    version: i64,
    is_closed: bool,
}

#[derive(PartialEq, Eq, Debug, sqlx::FromRow)]
struct DescribedOrder {
    kind: String,
    source: Option<Uuid>,
    destination: Option<Uuid>,
    cents: i64,
    currency: String,
    refund_of: Option<Uuid>,
    status: String,
    reason: Option<String>,
    is_dated: bool,
}

impl Bank {
    /// What stands in the database.
    pub(super) async fn stored(&self) -> Described {
        let mut stored =
            Described { wallets: Vec::new(), bank: BTreeMap::new(), orders: BTreeMap::new() };
        let mut conn = self.pool.acquire().await.unwrap();
        for wallet in &self.wallets[..WALLETS.len()] {
            let found = wallets::find(&mut conn, *wallet).await.unwrap().unwrap();
            let held = "select (held * 100)::bigint from payments.accounts where id = $1";
            let (entries, balances_after) = entries(&self.pool, *wallet).await;
            stored.wallets.push(DescribedWallet {
                entries,
                balances_after,
                balance: found.balance.to_string(),
                available: found.available.to_string(),
                held: sqlx::query_scalar(held).bind(wallet).fetch_one(&mut *conn).await.unwrap(),
                version: found.version,
                is_closed: found.closed_at.is_some(),
            });
        }
        let banks: Vec<(AccountId, String)> =
            sqlx::query_as("select id, currency from payments.accounts where kind = 'bank'")
                .fetch_all(&mut *conn)
                .await
                .unwrap();
        for (id, currency) in banks {
            stored.bank.insert(currency, entries(&self.pool, id).await.0);
        }
        let orders: Vec<OrderRow> = sqlx::query_as(
            "select
               orders.id, orders.kind::text,
               (select id from payments.accounts
                where kind = 'wallet' and id = source_account_id) as source,
               (select id from payments.accounts
                where kind = 'wallet' and id = destination_account_id) as destination,
               (amount * 100)::bigint as cents, orders.currency, refund_of, status::text,
               failure_reason as reason, finished_at is not null as is_dated
             from payments.orders",
        )
        .fetch_all(&mut *conn)
        .await
        .unwrap();
        stored.orders = orders.into_iter().map(|row| (row.id, row.order)).collect();
        stored
    }

    /// What should.
    pub(super) fn described(&self, model: &Model) -> Described {
        let wallets = model.wallets.iter().zip(WALLETS).map(|(wallet, (_, currency))| {
            let text = |cents: i64| format!("{}.{:02} {currency}", cents / 100, cents % 100);
            DescribedWallet {
                entries: wallet.entries.clone(),
                balances_after: running_sums(&wallet.entries),
                balance: text(wallet.balance()),
                available: text(wallet.balance() - wallet.held),
                held: wallet.held,
                version: wallet.version(),
                is_closed: wallet.is_closed,
            }
        });
        let bank =
            model.bank.iter().map(|(currency, entries)| ((*currency).to_owned(), entries.clone()));
        let id = |number: Number| self.order(number).0;
        let wallet = |index: usize| self.wallets[index].0;
        let orders = model.orders.iter().map(|(number, order)| {
            let described = DescribedOrder {
                kind: order.wish.to_owned(),
                source: order.source.map(wallet),
                destination: order.destination.map(wallet),
                cents: order.cents,
                currency: order.currency.to_owned(),
                refund_of: order.refund_of.map(id),
                status: order.status.to_owned(),
                reason: order.reason.map(str::to_owned),
                is_dated: ["COMPLETED", "FAILED"].contains(&order.status),
            };
            (id(*number), described)
        });
        Described { wallets: wallets.collect(), bank: bank.collect(), orders: orders.collect() }
    }

    /// Every row of the money with who wrote it: the same only if none was written.
    pub(super) async fn rows(&self) -> Vec<String> {
        sqlx::query_scalar(
            "select format('%s %s', xmin, it) from payments.accounts as it
             union all select format('%s %s', xmin, it) from payments.entries as it
             union all select format('%s %s', xmin, it) from payments.transfers as it
             union all select format('%s %s', xmin, it) from payments.orders as it
             order by 1",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap()
    }
}

#[derive(sqlx::FromRow)]
struct OrderRow {
    id: Uuid,
    #[sqlx(flatten)]
    order: DescribedOrder,
}

/// The amounts of an account's entries, in order, and the balances after them.
async fn entries(pool: &PgPool, account: AccountId) -> (Vec<i64>, Vec<i64>) {
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "select (amount * 100)::bigint, (balance_after * 100)::bigint
         from payments.entries where account_id = $1 order by account_version",
    )
    .bind(account)
    .fetch_all(pool)
    .await
    .unwrap();
    rows.into_iter().unzip()
}

fn running_sums(amounts: &[i64]) -> Vec<i64> {
    let sum = |sum: &mut i64, amount: &i64| {
        *sum += amount;
        Some(*sum)
    };
    amounts.iter().scan(0, sum).collect()
}
