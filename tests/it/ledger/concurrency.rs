//! Many at once: nobody loses an update, nobody waits in a circle (S-51, S-52).

use std::sync::Arc;

use surety::ids::AccountId;
use surety::payments::transfers::NewTransfer;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::support::TestDb;
use crate::support::ledger::{count, external, post, settle, transaction, transfer, wallet};

#[tokio::test(flavor = "multi_thread")]
async fn batches_over_the_same_accounts_in_opposite_order_do_not_deadlock() {
    let db = TestDb::new().await;
    let mut accounts = Vec::new();
    for name in ["a", "b", "c", "d", "e", "f"] {
        accounts.push(external(&db.pool, name, "USD").await);
    }
    let forth: Vec<NewTransfer> =
        accounts.windows(2).map(|pair| transfer(pair[0], pair[1], "1 USD")).collect();
    let back: Vec<NewTransfer> =
        accounts.windows(2).rev().map(|pair| transfer(pair[1], pair[0], "1 USD")).collect();
    let start = Arc::new(Barrier::new(4));
    let mut tasks = JoinSet::new();
    for batch in [forth.clone(), back.clone(), forth, back] {
        let (pool, start) = (db.pool.clone(), Arc::clone(&start));
        tasks.spawn(async move {
            for _ in 0..50 {
                start.wait().await;
                let outcomes = post(&pool, &batch).await.unwrap();
                assert!(outcomes.iter().all(Result::is_ok));
            }
        });
    }
    tasks.join_all().await;

    assert_eq!(count(&db.pool, "select count(*) from payments.transfers").await, 1000);
    let unbalanced = "select count(*) from payments.accounts where balance <> 0";
    assert_eq!(count(&db.pool, unbalanced).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn first_sights_of_the_same_names_in_opposite_order_do_not_deadlock() {
    let db = TestDb::new().await;
    for round in 0..25 {
        let mut conn = db.pool.acquire().await.unwrap();
        let names: Vec<String> = (0..12).map(|number| format!("r{round}-n{number}")).collect();
        let (mut forth, mut back) = (Vec::new(), Vec::new());
        for pair in names.windows(2) {
            forth.push(transaction(&mut conn, &pair[0], &pair[1], "1 USD").await);
            back.push(transaction(&mut conn, &pair[1], &pair[0], "1 USD").await);
        }
        back.reverse();
        drop(conn);

        let (one, two) = tokio::join!(settle(&db.pool, &forth), settle(&db.pool, &back));

        assert_eq!(one.len() + two.len(), 22);
    }
    assert_eq!(count(&db.pool, "select count(*) from payments.accounts").await, 25 * 12);
    assert_eq!(count(&db.pool, "select count(*) from payments.transfers").await, 25 * 22);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_concurrent_transfers_conserve_money_and_respect_floors() {
    let db = TestDb::new().await;
    let outside = external(&db.pool, "outside", "USD").await;
    let mut wallets = Vec::new();
    for _ in 0..10 {
        wallets.push(wallet(&db.pool, "USD").await);
    }
    let deposits: Vec<NewTransfer> =
        wallets.iter().map(|wallet| transfer(outside, *wallet, "20 USD")).collect();
    post(&db.pool, &deposits).await.unwrap();

    let mut tasks = JoinSet::new();
    for _ in 0..10 {
        let (pool, wallets) = (db.pool.clone(), wallets.clone());
        tasks.spawn(async move {
            let mut posted = 0;
            for _ in 0..100 {
                let [source, destination] = two_of(&wallets);
                let random =
                    transfer(source, destination, &format!("{} USD", fastrand::u32(1..15)));
                posted += i64::from(post(&pool, &[random]).await.unwrap()[0].is_ok());
            }
            posted
        });
    }
    let posted: i64 = tasks.join_all().await.into_iter().sum();

    assert!(
        (100..1000).contains(&posted),
        "{posted} of 1000 posted: floors were never met, or always"
    );
    let transfers = count(&db.pool, "select count(*) from payments.transfers").await;
    assert_eq!(transfers, 10 + posted);
    let total = "select sum(balance)::bigint from payments.accounts where floor is not null";
    assert_eq!(count(&db.pool, total).await, 200);
    let mut conn = db.pool.acquire().await.unwrap();
    for invariant in surety::payments::verify::INVARIANTS {
        let finding = invariant.check(&mut conn).await.unwrap();
        assert_eq!(finding.violations, 0, "{}: {:?}", invariant.claim, finding.samples);
    }
}

fn two_of(wallets: &[AccountId]) -> [AccountId; 2] {
    let first = fastrand::usize(0..wallets.len());
    let second = (first + fastrand::usize(1..wallets.len())) % wallets.len();
    [wallets[first], wallets[second]]
}
