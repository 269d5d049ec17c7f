//! Orders that were given up, while somebody tries them again.

use serde_json::json;
use surety::bank::call_log::{self, CallOperation};
use surety::bank::{Direction, EffectKey};
use surety::ids::UserId;
use surety::jobs::{ExecuteBankOrder, ResolveBankOrder};
use surety::payments::orders::{self, Instruction};
use surety::queue::{NewJob, enqueue};
use uuid::Uuid;

use crate::support::ledger::{count, money};
use crate::support::money::{discard_job, fund, open_wallet, take, taken};
use crate::support::{SimulatedBank, TestDb, wait_for_locks};

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_not_given_up_while_the_bank_is_being_called_for_it() {
    let db = TestDb::new().await;
    let owner = UserId(Uuid::now_v7());
    let wallet = open_wallet(&db.pool, owner, "USD").await;
    fund(&db.pool, owner, wallet, "10 USD").await;
    let withdrawal = Instruction::Withdrawal { wallet, money: money("4 USD") };
    let order = taken(take(&db.pool, owner, "withdrawn", withdrawal).await);
    let mut tx = db.pool.begin().await.unwrap();
    let job = discard_job(&mut tx, order).await;
    let resolving = ResolveBankOrder { job, args: ExecuteBankOrder { order } };
    enqueue(&mut tx, NewJob::new(&resolving).unwrap()).await.unwrap();
    tx.commit().await.unwrap();

    // An operator lets the discarded job run again, which is about to commit its intent.
    let mut intending = db.pool.begin().await.unwrap();
    orders::begin(&mut intending, order).await.unwrap();
    let instruction = surety::bank::BankInstruction {
        effect_key: EffectKey::of_order(order),
        direction: Direction::Withdrawal,
        money: money("4 USD"),
        account: wallet.to_string(),
    };
    call_log::begin(&mut intending, CallOperation::Send, &instruction).await.unwrap();
    let pool = db.pool.clone();
    let resolved =
        tokio::spawn(
            async move { SimulatedBank::start(json!({})).await.run_due_jobs(&pool).await },
        );
    wait_for_locks(&db.pool, 1).await;
    intending.commit().await.unwrap();
    resolved.await.unwrap();

    let held = "select held::bigint from payments.accounts where kind = 'wallet'";
    assert_eq!(count(&db.pool, held).await, 4, "the bank may be paying it out at this moment");
    let waiting = "select count(*) from queue.jobs where kind = 'resolve_bank_order'";
    assert_eq!(count(&db.pool, waiting).await, 1, "nobody finds out what becomes of it");
}

#[tokio::test]
async fn an_order_that_the_bank_never_heard_of_is_given_up_and_holds_nothing() {
    let db = TestDb::new().await;
    let owner = UserId(Uuid::now_v7());
    let wallet = open_wallet(&db.pool, owner, "USD").await;
    fund(&db.pool, owner, wallet, "10 USD").await;
    let withdrawal = Instruction::Withdrawal { wallet, money: money("4 USD") };
    let order = taken(take(&db.pool, owner, "withdrawn", withdrawal).await);
    let mut tx = db.pool.begin().await.unwrap();
    let job = discard_job(&mut tx, order).await;
    let resolving = ResolveBankOrder { job, args: ExecuteBankOrder { order } };
    enqueue(&mut tx, NewJob::new(&resolving).unwrap()).await.unwrap();
    tx.commit().await.unwrap();

    SimulatedBank::start(json!({})).await.run_due_jobs(&db.pool).await;

    let mut conn = db.pool.acquire().await.unwrap();
    let found = orders::find(&mut conn, order).await.unwrap().unwrap();
    assert_eq!(found.failure_reason.as_deref(), Some("bank-unavailable"));
    let held = "select held::bigint from payments.accounts where kind = 'wallet'";
    assert_eq!(count(&db.pool, held).await, 0);
    super::assert_all_holds(&db.pool).await;
}
