//! Two, or fifty, at the same moment: one wins, the others are told why, nobody waits in a circle.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::PgPool;
use surety::ids::{AccountId, OrderId, UserId};
use surety::payments::orders::{self, Executed, Instruction, NewOrder, Order, PlacementRefusal};
use surety::payments::wallets::{self, CloseRefusal};
use uuid::Uuid;

use super::{assert_money_holds, at_once, times, wide_pool};
use crate::support::TestDb;
use crate::support::ledger::{count, money};
use crate::support::money::{execute, fund, open_wallet, place, place_new};

type Placed = Result<Order, PlacementRefusal>;

/// A new user with a wallet with so much in it.
async fn payer(pool: &PgPool, text: &str) -> (UserId, AccountId) {
    let user = UserId(Uuid::now_v7());
    let wallet = open_wallet(pool, user, "USD").await;
    fund(pool, user, wallet, text).await;
    (user, wallet)
}

async fn placed(pool: PgPool, owner: UserId, instruction: Instruction) -> Placed {
    place(&pool, owner, instruction).await
}

async fn executed(pool: PgPool, ids: Vec<OrderId>) -> Vec<Executed> {
    execute(&pool, &ids).await
}

async fn failed(pool: PgPool, id: OrderId) -> bool {
    let mut tx = pool.begin().await.unwrap();
    let outcomes = orders::fail(&mut tx, id, "declined").await.unwrap();
    tx.commit().await.unwrap();
    !outcomes.is_empty()
}

async fn closed(pool: PgPool, owner: UserId, wallet: AccountId) -> Result<(), CloseRefusal> {
    let mut tx = pool.begin().await.unwrap();
    let closed = wallets::close(&mut tx, owner, wallet).await.unwrap();
    tx.commit().await.unwrap();
    closed
}

/// Balance, held, and how often each has changed.
async fn standing(pool: &PgPool, wallet: AccountId) -> (i64, i64, i64, i64) {
    sqlx::query_as(
        "select balance::bigint, held::bigint, version, hold_changes
         from payments.accounts where id = $1",
    )
    .bind(wallet)
    .fetch_one(pool)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_refunds_of_a_transfer_at_once_one_is_taken() {
    let db = TestDb::new().await;
    let pool = wide_pool(&db, 50).await;
    for _ in 0..10 {
        let ((alice, source), (bob, destination)) =
            (payer(&pool, "10 USD").await, payer(&pool, "90 USD").await);
        let instruction = Instruction::Transfer { source, destination, money: money("10 USD") };
        let transfer = place(&pool, alice, instruction).await.unwrap().id;
        execute(&pool, &[transfer]).await;

        let refund = || placed(pool.clone(), bob, Instruction::Refund { transfer }).boxed();
        let outcomes = at_once((0..50).map(|_| refund()).collect()).await;

        let refusals: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
        assert_eq!(refusals, [PlacementRefusal::AlreadyRefunded; 49]);
        assert_eq!(standing(&pool, destination).await, (100, 10, 2, 1));
    }
    assert_money_holds(&pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_execution_and_a_failure_at_once_one_decides() {
    let db = TestDb::new().await;
    let (user, wallet) = payer(&db.pool, "100 USD").await;
    let mut completed = 0;
    for round in 0..200 {
        let withdrawal = Instruction::Withdrawal { wallet, money: money("1 USD") };
        let deposit = Instruction::Deposit { wallet, money: money("1 USD") };
        let instruction = if round % 2 == 0 { withdrawal } else { deposit };
        let id = place(&db.pool, user, instruction).await.unwrap().id;
        let (pool, other) = (db.pool.clone(), db.pool.clone());
        let one = async move { executed(pool, vec![id]).await == [Executed::Completed] };
        let outcomes = at_once(vec![one.boxed(), failed(other, id).boxed()]).await;
        assert_eq!(times(&outcomes, &true), 1, "both or none decided: {outcomes:?}");
        completed += i64::from(outcomes[0]);
        assert_eq!(standing(&db.pool, wallet).await.1, 0, "something is still held");
    }
    let transfers = count(&db.pool, "select count(*) from payments.transfers").await;
    assert_eq!(transfers, 1 + completed);
    assert_money_holds(&db.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_executions_at_once_execute_each_order_once() {
    let db = TestDb::new().await;
    let (user, wallet) = payer(&db.pool, "1000 USD").await;
    for _ in 0..50 {
        let mut ids = Vec::new();
        for _ in 0..3 {
            let instruction = Instruction::Withdrawal { wallet, money: money("1 USD") };
            ids.push(place(&db.pool, user, instruction).await.unwrap().id);
        }
        let batches = [vec![ids[0], ids[1]], vec![ids[2], ids[1]], vec![ids[1]], ids.clone()];
        let tasks = batches.map(|batch| executed(db.pool.clone(), batch).boxed());
        let outcomes = at_once(tasks.into_iter().collect()).await.concat();
        assert_eq!(times(&outcomes, &Executed::Completed), 3, "{outcomes:?}");
        assert_eq!(times(&outcomes, &Executed::AlreadyFinished), 5, "{outcomes:?}");
    }
    assert_eq!(standing(&db.pool, wallet).await, (850, 0, 151, 300));
    assert_money_holds(&db.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_available_is_promised_once() {
    let db = TestDb::new().await;
    for _ in 0..50 {
        let (user, wallet) = payer(&db.pool, "100 USD").await;
        let other = open_wallet(&db.pool, UserId(Uuid::now_v7()), "USD").await;
        let (most, money) = (money("60 USD"), money("40 USD"));
        let tasks: Vec<BoxFuture<'static, Placed>> = vec![
            placed(db.pool.clone(), user, Instruction::Withdrawal { wallet, money: most }).boxed(),
            placed(
                db.pool.clone(),
                user,
                Instruction::Transfer { source: wallet, destination: other, money: most },
            )
            .boxed(),
            placed(db.pool.clone(), user, Instruction::Withdrawal { wallet, money }).boxed(),
        ];
        let outcomes = at_once(tasks).await;
        let refusals: Vec<_> = outcomes.iter().filter_map(|it| it.as_ref().err()).collect();
        assert!(refusals.iter().all(|it| **it == PlacementRefusal::InsufficientFunds));
        let (balance, held, ..) = standing(&db.pool, wallet).await;
        // One of the two that want 60, and the one that wants 40 in any case.
        assert_eq!((balance, held, refusals.len()), (100, 100, 1));
    }
    assert_money_holds(&db.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_there_and_back_do_not_deadlock() {
    let db = TestDb::new().await;
    let ((alice, a), (bob, b)) =
        (payer(&db.pool, "100 USD").await, payer(&db.pool, "100 USD").await);
    let there = Instruction::Transfer { source: a, destination: b, money: money("1 USD") };
    let back = Instruction::Transfer { source: b, destination: a, money: money("1 USD") };
    for _ in 0..50 {
        // Placed in one batch each, in opposite orders, and executed likewise.
        let both = [(alice, there), (bob, back)];
        let batch = |turned: bool| {
            let pool = db.pool.clone();
            async move {
                let mut new = both.map(|(owner, instruction)| NewOrder {
                    owner,
                    instruction,
                    description: None,
                    if_version: None,
                });
                if turned {
                    new.reverse();
                }
                let mut tx = pool.begin().await.unwrap();
                let new: Vec<&NewOrder> = new.iter().collect();
                let placed = orders::place_many(&mut tx, &new).await.unwrap();
                tx.commit().await.unwrap();
                let mut ids: Vec<_> = placed.into_iter().map(|order| order.unwrap().id).collect();
                ids.reverse();
                execute(&pool, &ids).await
            }
            .boxed()
        };
        let outcomes = at_once(vec![batch(false), batch(true), batch(false), batch(true)]).await;
        assert_eq!(outcomes.concat(), [Executed::Completed; 8]);
    }
    assert_eq!(standing(&db.pool, a).await, (100, 0, 401, 400));
    assert_money_holds(&db.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_is_closed_empty_whatever_arrives_meanwhile() {
    let db = TestDb::new().await;
    let (mut emptied, mut kept) = (0, 0);
    for _ in 0..100 {
        let user = UserId(Uuid::now_v7());
        let wallet = open_wallet(&db.pool, user, "USD").await;
        let deposit = Instruction::Deposit { wallet, money: money("1 USD") };
        let arriving = place(&db.pool, user, deposit).await.unwrap().id;
        let (one, two, three) = (db.pool.clone(), db.pool.clone(), db.pool.clone());
        let outcomes = at_once(vec![
            async move { closed(one, user, wallet).await.is_ok() }.boxed(),
            async move { executed(two, vec![arriving]).await == [Executed::Completed] }.boxed(),
            async move {
                let withdrawal = Instruction::Withdrawal { wallet, money: money("1 USD") };
                match placed(three, user, withdrawal).await {
                    Ok(_) => true,
                    Err(PlacementRefusal::InsufficientFunds | PlacementRefusal::WalletClosed) => {
                        false
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            .boxed(),
        ])
        .await;
        let [is_closed, has_arrived, is_withdrawn] = outcomes[..] else { unreachable!() };
        assert!(has_arrived, "what was accepted before arrives");
        assert!(!(is_closed && is_withdrawn), "a closed wallet has promised money");
        if is_closed { emptied += 1 } else { kept += 1 }
    }
    assert!(emptied > 0 && kept > 0, "closed {emptied} times, kept open {kept} times: no race");
    assert_money_holds(&db.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_orders_for_one_version_of_a_wallet_at_once_one_is_taken() {
    let db = TestDb::new().await;
    for _ in 0..20 {
        let (user, wallet) = payer(&db.pool, "100 USD").await;
        let mut conn = db.pool.acquire().await.unwrap();
        let seen = wallets::find(&mut conn, wallet).await.unwrap().unwrap();
        drop(conn);
        let order = NewOrder {
            owner: user,
            instruction: Instruction::Withdrawal { wallet, money: money("1 USD") },
            description: None,
            if_version: Some(seen.version),
        };
        let tasks = (0..10).map(|_| {
            let (pool, order) = (db.pool.clone(), order.clone());
            async move { place_new(&pool, &order).await.map(|_| ()) }.boxed()
        });
        let outcomes = at_once(tasks.collect()).await;
        assert_eq!(times(&outcomes, &Ok(())), 1);
        assert_eq!(times(&outcomes, &Err(PlacementRefusal::VersionMismatch)), 9);
    }
    assert_money_holds(&db.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_orders_of_a_currency_at_once_share_the_banks_account() {
    for _ in 0..5 {
        let db = TestDb::new().await;
        let mut tasks = Vec::new();
        for number in 0..8 {
            let user = UserId(Uuid::now_v7());
            let wallet = open_wallet(&db.pool, user, ["USD", "EUR"][number % 2]).await;
            let money = money(["1 USD", "1 EUR"][number % 2]);
            let deposit = Instruction::Deposit { wallet, money };
            tasks.push(placed(db.pool.clone(), user, deposit).boxed());
        }
        assert!(at_once(tasks).await.iter().all(Result::is_ok));
        let banks = "select count(*) from payments.accounts where kind = 'bank'";
        assert_eq!(count(&db.pool, banks).await, 2);
        assert_money_holds(&db.pool).await;
    }
}
