//! Many at once: nobody loses an update, nobody waits in a circle.

use std::sync::Arc;

use surety::ids::AccountId;
use surety::payments::accounts;
use surety::payments::settlement::Settled;
use surety::payments::transfers::NewTransfer;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::support::ledger::{
    count, external, in_dollars, post, settle, transaction, transfer, wallet,
};
use crate::support::{TestDb, wait_for_locks};

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

#[tokio::test]
async fn first_sights_of_the_same_names_in_opposite_order_do_not_deadlock() {
    let db = TestDb::new().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let mut ids = Vec::new();
    for (source, destination) in [("a", "m"), ("a", "z"), ("z", "m"), ("z", "a")] {
        ids.push(transaction(&mut conn, source, destination, "1 USD").await);
    }
    let (forth, back) = ([ids[0], ids[1]], [ids[2], ids[3]]);
    drop(conn);
    // Somebody else has made `m`, and it is not certain yet whether that will stay. In whatever
    // order the two settlements make their accounts, both come to wait with some made and some not.
    let mut other = db.pool.begin().await.unwrap();
    accounts::open_external(&mut other, &[in_dollars("m")]).await.unwrap();

    let (one, two) = (db.pool.clone(), db.pool.clone());
    let one = tokio::spawn(async move { settle(&one, &forth).await });
    wait_for_locks(&db.pool, 1).await;
    let two = tokio::spawn(async move { settle(&two, &back).await });
    wait_for_locks(&db.pool, 2).await;
    other.rollback().await.unwrap();

    assert_eq!(one.await.unwrap(), [Settled::Completed; 2]);
    assert_eq!(two.await.unwrap(), [Settled::Completed; 2]);
    assert_eq!(count(&db.pool, "select count(*) from payments.accounts").await, 3);
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
