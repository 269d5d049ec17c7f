//! What was told of the past stays true, however late a commit lands and whatever clocks say:
//! statements, balances at a moment, and lists that are gone on with.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};
use surety::payments::orders::{self, Instruction, NewOrder};
use surety::payments::transfers;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::statements::{rows, statement};
use super::{refusal, start};
use crate::support::ledger::{external, money, post, transfer, wallet};
use crate::support::money::{Customer, fund, over};
use crate::support::{Answer, TestApi};

async fn now(pool: &PgPool) -> OffsetDateTime {
    sqlx::query_scalar("select clock_timestamp()").fetch_one(pool).await.unwrap()
}

fn text(moment: OffsetDateTime) -> String {
    moment.format(&Rfc3339).unwrap()
}

async fn until_now(api: &TestApi, customer: &Customer, from: &str) -> Answer {
    statement(api, customer, &format!("from={from}")).await
}

/// The end that a statement names.
fn end_of(answer: &Answer) -> String {
    rows(answer).last().unwrap()[1].to_owned()
}

fn numbers(answer: &Answer) -> Vec<i64> {
    rows(answer).iter().filter_map(|row| row[0].parse().ok()).collect()
}

/// A commit that waits, as for a slow standby, after all that it wrote was dated.
async fn make_commits_slow(pool: &PgPool, table: &str, delay: Duration) {
    let sql = format!(
        "create function payments.wait_before_commit() returns trigger language plpgsql as
           'begin perform pg_sleep({}); return null; end';
         create constraint trigger slow after insert on {table}
           deferrable initially deferred for each row
           execute function payments.wait_before_commit()",
        delay.as_secs_f64(),
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap();
}

/// Until somebody is in the middle of a commit that waits.
async fn somebody_commits(pool: &PgPool) {
    let waits = "select exists (select from pg_stat_activity where wait_event = 'PgSleep')";
    while !sqlx::query_scalar::<_, bool>(waits).fetch_one(pool).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn an_entry_whose_commit_is_slow_is_in_the_statement_or_dated_after_it() {
    let api = start().await;
    let customer = Customer::with(&api, "1 USD").await;
    make_commits_slow(&api.pool, "payments.entries", Duration::from_millis(300)).await;
    let payer = external(&api.pool, "payer", "USD").await;
    let paid = {
        let (pool, to) = (api.pool.clone(), customer.wallet);
        tokio::spawn(async move { post(&pool, &[transfer(payer, to, "2 USD")]).await.unwrap() })
    };
    somebody_commits(&api.pool).await;

    let before = until_now(&api, &customer, "2020-01-01T00:00:00Z").await;
    let end = end_of(&before);
    let at = customer.person.get(&api, &format!("/v1/wallets/{}/balance", customer.wallet)).await;
    let told = at.json();
    paid.await.unwrap();

    let again = format!("from=2020-01-01T00:00:00Z&until={end}");
    assert_eq!(statement(&api, &customer, &again).await.text, before.text);
    let after = until_now(&api, &customer, &end).await;
    let mut seen = numbers(&before);
    seen.extend(numbers(&after));
    assert_eq!(seen, [1, 2], "each entry is in one of the two");
    assert_eq!(rows(&before).last().unwrap()[5], rows(&after)[0][5]);
    let path = format!("/v1/wallets/{}/balance?at=", customer.wallet);
    let again = customer.person.get(&api, &format!("{path}{}", told["at"].as_str().unwrap())).await;
    assert_eq!(again.json(), told);
}

#[tokio::test]
async fn the_future_cannot_be_told() {
    let api = start().await;
    let customer = Customer::with(&api, "1 USD").await;
    let later = text(now(&api.pool).await + time::Duration::minutes(1));
    for query in [
        format!("statement?from=2020-01-01T00:00:00Z&until={later}"),
        format!("statement?from={later}"),
        format!("statement?from={later}&until={later}"),
        "statement?from=2020-01-01T00:00:00Z&until=9999-12-31T23:59:59.999999999Z".to_owned(),
        format!("balance?at={later}"),
        "balance?at=9999-12-31T23:59:59.999999999Z".to_owned(),
    ] {
        let path = format!("/v1/wallets/{}/{query}", customer.wallet);
        let answer = customer.person.get(&api, &path).await;
        assert_eq!(refusal(&answer), (400, "invalid-parameter".to_owned()), "{query}");
    }
}

/// Dates an account's entries under its lock: a clock that is set back moves none of them into what
/// was told, nor before the entry that came before it.
#[tokio::test]
async fn a_clock_that_is_set_back_moves_no_entry_into_a_period_that_was_told() {
    let api = start().await;
    let customer = Customer::with(&api, "1 USD").await;
    let told = until_now(&api, &customer, "2020-01-01T00:00:00Z").await;
    let set_back = set_clock_back(&api, 3600).await;

    fund(&set_back, customer.id(), customer.wallet, "2 USD").await;

    let end = end_of(&told);
    let again = format!("from=2020-01-01T00:00:00Z&until={end}");
    assert_eq!(statement(&api, &customer, &again).await.text, told.text);
    assert_eq!(numbers(&until_now(&api, &customer, &end).await), [2]);
}

/// The pool of a process whose sessions see a clock that is so many seconds behind.
async fn set_clock_back(api: &TestApi, seconds: u32) -> PgPool {
    let sql = format!(
        "create schema behind;
         create function behind.clock_timestamp() returns timestamptz language sql volatile
           as 'select pg_catalog.clock_timestamp() - interval ''{seconds} seconds''';
         do $$ begin
           execute format(
             'alter database %I set search_path = behind, pg_catalog, public',
             current_database());
         end $$",
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&api.pool).await.unwrap();
    let pool = PgPool::connect(&api.db.as_ref().unwrap().url).await.unwrap();
    let behind: bool = sqlx::query_scalar("select clock_timestamp() < pg_catalog.now()")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert!(behind);
    pool
}

/// Payers on several connections and, meanwhile, a reader whose periods adjoin.
#[tokio::test]
async fn under_load_every_entry_is_in_exactly_one_of_adjoining_statements() {
    let api = start().await;
    let customer = Customer::with(&api, "1 USD").await;
    make_commits_slow(&api.pool, "payments.transfers", Duration::from_millis(3)).await;
    let stop = CancellationToken::new();
    let mut writers = JoinSet::new();
    for number in 0..6 {
        let (pool, to, stop) = (api.pool.clone(), customer.wallet, stop.clone());
        let payer = external(&api.pool, &format!("payer {number}"), "USD").await;
        writers.spawn(async move {
            while !stop.is_cancelled() {
                post(&pool, &[transfer(payer, to, "0.01 USD")]).await.unwrap();
            }
        });
    }
    let mut told = Vec::new();
    let mut from = "2020-01-01T00:00:00Z".to_owned();
    for _ in 0..40 {
        let answer = until_now(&api, &customer, &from).await;
        from = end_of(&answer);
        told.push(answer);
    }
    stop.cancel();
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    told.push(until_now(&api, &customer, &from).await);

    let seen: Vec<i64> = told.iter().flat_map(numbers).collect();
    let entries: i64 =
        sqlx::query_scalar("select count(*) from payments.entries where account_id = $1")
            .bind(customer.wallet)
            .fetch_one(&api.pool)
            .await
            .unwrap();
    assert!(entries > 40, "the writers were stuck: {entries}");
    assert_eq!(seen, (1..=entries).collect::<Vec<i64>>());
    for pair in told.windows(2) {
        let [before, after] = [&pair[0], &pair[1]].map(rows);
        assert_eq!(before.last().unwrap()[5], after[0][5]);
        let again = format!("from={}&until={}", &before[0][1], &before.last().unwrap()[1]);
        assert_eq!(statement(&api, &customer, &again).await.text, pair[0].text);
    }
}

/// Asks for the newest orders again and again, and goes on from the newest that it saw.
struct Poller {
    path: &'static str,
    list: &'static str,
    id: &'static str,
    newest: Option<OffsetDateTime>,
    /// The first times at which items were seen, by id; by place and by date.
    by_place: BTreeMap<String, String>,
    by_date: BTreeMap<String, String>,
}

impl Poller {
    fn new(path: &'static str, list: &'static str, id: &'static str) -> Self {
        let (by_place, by_date) = (BTreeMap::new(), BTreeMap::new());
        Self { path, list, id, newest: None, by_place, by_date }
    }

    /// Polls while these write as many items in all, and once more: sees each, both ways.
    async fn assert_misses_none(
        mut self,
        api: &TestApi,
        reader: &Customer,
        mut writers: JoinSet<()>,
        items: usize,
    ) {
        while !writers.is_empty() {
            self.poll(api, reader).await;
            while let Some(written) = writers.try_join_next() {
                written.unwrap();
            }
        }
        self.poll(api, reader).await;
        assert_eq!(self.by_place.len(), items);
        assert_eq!(self.by_place, self.by_date);
    }

    async fn poll(&mut self, api: &TestApi, reader: &Customer) {
        // By place: down to the first that is known.
        let page = reader.person.get(api, &format!("{}?limit=200", self.path)).await.json();
        let items = page[self.list].as_array().unwrap().clone();
        for item in items {
            let id = item[self.id].as_str().unwrap().to_owned();
            if self.by_place.insert(id, date(&item)).is_some() {
                break;
            }
        }
        // By date: from the latest that is known.
        let from = self.newest.map_or_else(|| "2020-01-01T00:00:00Z".to_owned(), text);
        let path = format!("{}?limit=200&created_from={from}", self.path);
        let page = reader.person.get(api, &path).await.json();
        assert!(page["next_cursor"].is_null(), "the poller is too slow");
        for item in page[self.list].as_array().unwrap() {
            let id = item[self.id].as_str().unwrap().to_owned();
            let date_of_item = OffsetDateTime::parse(&date(item), &Rfc3339).unwrap();
            self.newest = self.newest.max(Some(date_of_item));
            self.by_date.insert(id, date(item));
        }
    }
}

fn date(item: &Value) -> String {
    item["created_at"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn who_polls_a_list_of_orders_misses_none() {
    let api = start().await;
    let customer = Customer::new(&api).await;
    make_commits_slow(&api.pool, "payments.orders", Duration::from_millis(20)).await;
    let mut writers = JoinSet::new();
    for number in 0..4_u64 {
        let (pool, owner, wallet) = (api.pool.clone(), customer.id(), customer.wallet);
        writers.spawn(async move {
            for _ in 0..12 {
                tokio::time::sleep(Duration::from_millis(3 * number)).await;
                let instruction = Instruction::Deposit { wallet, money: money("1 USD") };
                let new = NewOrder { owner, instruction, description: None, if_version: None };
                let mut tx = pool.begin().await.unwrap();
                orders::place_many(&mut tx, &[&new, &new]).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5 * number)).await;
                tx.commit().await.unwrap();
            }
        });
    }
    let poller = Poller::new("/v1/deposits", "orders", "id");
    poller.assert_misses_none(&api, &customer, writers, 4 * 12 * 2).await;
}

#[tokio::test]
async fn who_polls_the_transactions_misses_none() {
    let api = start().await;
    let customer = Customer::new(&api).await;
    let mut writers = JoinSet::new();
    for number in 0..4_u64 {
        let pool = api.pool.clone();
        writers.spawn(async move {
            for _ in 0..12 {
                let mut tx = pool.begin().await.unwrap();
                for _ in 0..2 {
                    crate::support::ledger::transaction(&mut tx, "a", "b", "1 USD").await;
                    tokio::time::sleep(Duration::from_millis(1 + 7 * number)).await;
                }
                tx.commit().await.unwrap();
            }
        });
    }
    let poller = Poller::new("/v1/transactions", "transactions", "transaction_id");
    poller.assert_misses_none(&api, &customer, writers, 4 * 12 * 2).await;
}

/// A list does not wait for ever for a commit that hangs: it ends before what that may have dated.
#[tokio::test]
async fn a_list_ends_before_a_writer_that_does_not_end() {
    let api = start().await;
    let customer = Customer::new(&api).await;
    let deposit = over(customer.wallet, "1 USD");
    let place = || customer.order(&api, "/v1/deposits", &deposit);
    place().await;
    let mut hangs = api.pool.begin().await.unwrap();
    let change = "update payments.orders set description = 'hangs'";
    sqlx::query(change).execute(&mut *hangs).await.unwrap();
    place().await;

    let count = async || {
        let page = customer.person.get(&api, "/v1/deposits").await.json();
        page["orders"].as_array().unwrap().len()
    };
    assert_eq!(count().await, 1);
    hangs.rollback().await.unwrap();
    assert_eq!(count().await, 2);
}

#[tokio::test]
async fn all_entries_of_a_batch_have_one_date_that_no_account_has_passed() {
    let api = start().await;
    let payer = external(&api.pool, "payer", "USD").await;
    let (first, second) = (wallet(&api.pool, "USD").await, wallet(&api.pool, "USD").await);
    // Somebody was told of the second wallet's past.
    let closed = "update payments.accounts set entries_from = clock_timestamp() + interval '1 hour'
                  where id = $1 returning entries_from";
    let closed: OffsetDateTime =
        sqlx::query_scalar(closed).bind(second).fetch_one(&api.pool).await.unwrap();
    let mut tx = api.pool.begin().await.unwrap();
    let both = [transfer(payer, first, "1 USD"), transfer(payer, second, "1 USD")];
    transfers::post_many(&mut tx, &both).await.unwrap();
    tx.commit().await.unwrap();
    let dates = "select distinct created_at from payments.entries
                 union select created_at from payments.transfers";
    let dates: Vec<OffsetDateTime> = sqlx::query_scalar(dates).fetch_all(&api.pool).await.unwrap();
    assert_eq!(dates, [closed]);
}
