//! Random batches against a model: the same ledger in thirty lines, without a database.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sqlx::PgPool;
use surety::ids::AccountId;
use surety::payments::transfers::{NewTransfer, Reason, TransferRefusal};
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::ledger::{external, money, post, wallet};

/// Currency and floor, in cents, of the accounts that a sequence plays with. One more index is an
/// account that does not exist.
const ACCOUNTS: [(&str, Option<i64>); 6] = [
    ("USD", None),
    ("USD", None),
    ("USD", Some(0)),
    ("USD", Some(0)),
    ("EUR", None),
    ("EUR", Some(0)),
];

#[derive(Clone, Debug)]
struct Move {
    source: usize,
    destination: usize,
    cents: i64,
    currency: &'static str,
}

fn moves() -> impl Strategy<Value = Move> {
    let account = || {
        prop_oneof![
            30 => 0..ACCOUNTS.len(),
            1 => Just(ACCOUNTS.len()),
        ]
    };
    let currency = prop_oneof![4 => Just("USD"), 1 => Just("EUR")];
    (account(), account(), 1_i64..500, currency).prop_map(
        |(source, destination, cents, currency)| Move { source, destination, cents, currency },
    )
}

/// For each account the amounts of its entries, in order.
type Model = [Vec<i64>; ACCOUNTS.len()];

/// The rules that a move breaks; when there are none, it is applied.
fn apply(model: &mut Model, step: &Move) -> BTreeSet<&'static str> {
    let mut broken = BTreeSet::new();
    if step.source == step.destination {
        broken.insert("same-account");
    }
    for (index, amount) in [(step.source, -step.cents), (step.destination, step.cents)] {
        let Some((currency, floor)) = ACCOUNTS.get(index) else {
            broken.insert("account-not-found");
            continue;
        };
        if *currency != step.currency {
            broken.insert("currency-mismatch");
        }
        let after = model[index].iter().sum::<i64>() + amount;
        if floor.is_some_and(|floor| after < floor) {
            broken.insert("insufficient-funds");
        }
    }
    if broken.is_empty() {
        model[step.source].push(-step.cents);
        model[step.destination].push(step.cents);
    }
    broken
}

/// The amounts of an account's entries and their balances, in cents and in order, and its balance
/// and version.
async fn stored(pool: &PgPool, account: AccountId) -> (Vec<i64>, Vec<i64>, i64, i64) {
    sqlx::query_as(
        "select
           coalesce(array_agg((entry.amount * 100)::bigint order by account_version)
             filter (where transfer_id is not null), '{}'),
           coalesce(array_agg((balance_after * 100)::bigint order by account_version)
             filter (where transfer_id is not null), '{}'),
           (balance * 100)::bigint,
           version
         from payments.accounts as account
         left join payments.entries as entry on entry.account_id = account.id
         where account.id = $1
         group by account.id",
    )
    .bind(account)
    .fetch_one(pool)
    .await
    .unwrap()
}

async fn run(pool: &PgPool, batches: &[Vec<Move>]) -> Result<(), TestCaseError> {
    let mut accounts = Vec::new();
    for (currency, floor) in ACCOUNTS {
        accounts.push(match floor {
            None => external(pool, &Uuid::new_v4().to_string(), currency).await,
            Some(_) => wallet(pool, currency).await,
        });
    }
    accounts.push(AccountId(Uuid::new_v4()));

    let mut model = Model::default();
    for batch in batches {
        let transfers: Vec<NewTransfer> = batch
            .iter()
            .map(|step| NewTransfer {
                reason: Reason::Unrecorded,
                source: accounts[step.source],
                destination: accounts[step.destination],
                money: money(&format!(
                    "{}.{:02} {}",
                    step.cents / 100,
                    step.cents % 100,
                    step.currency
                )),
            })
            .collect();
        let outcomes = post(pool, &transfers).await.unwrap();

        for (step, outcome) in batch.iter().zip(outcomes) {
            let broken = apply(&mut model, step);
            match outcome.map_err(TransferRefusal::code) {
                Ok(_) => prop_assert!(broken.is_empty(), "posted, but {broken:?}: {step:?}"),
                Err(code) => {
                    prop_assert!(broken.contains(code), "{code} not in {broken:?}: {step:?}")
                }
            }
        }
        for (account, amounts) in accounts.iter().zip(&model) {
            let balances: Vec<i64> = amounts
                .iter()
                .scan(0, |balance, amount| {
                    *balance += amount;
                    Some(*balance)
                })
                .collect();
            let (entries, balances_after, balance, version) = stored(pool, *account).await;
            prop_assert_eq!(&entries, amounts);
            prop_assert_eq!(balance, balances.last().copied().unwrap_or(0));
            prop_assert_eq!(version, amounts.len() as i64);
            prop_assert_eq!(balances_after, balances);
        }
    }
    Ok(())
}

#[test]
fn random_batches_leave_the_ledger_as_the_model_says() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let db = runtime.block_on(TestDb::new());
    let batches = prop::collection::vec(prop::collection::vec(moves(), 0..32), 2..8);
    TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() })
        .run(&batches, |batches| runtime.block_on(run(&db.pool, &batches)))
        .unwrap_or_else(|error| panic!("{error}"));
    let moved = runtime.block_on(crate::support::ledger::count(
        &db.pool,
        "select count(*) from payments.transfers",
    ));
    assert!(moved > 100, "the batches moved next to nothing ({moved}): they prove nothing");
}
