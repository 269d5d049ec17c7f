//! What is taken and what is refused of orders in one transaction, and what a refused one leaves
//! behind: nothing.

use surety::ids::{AccountId, UserId};
use surety::payments::orders::{self, Instruction, NewOrder, PlacementRefusal};
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::ledger::{count, money};
use crate::support::money::{execute, fund, open_wallet, place};

#[tokio::test]
async fn a_refused_order_opens_no_account_for_the_bank() {
    let db = TestDb::new().await;
    let user = UserId(Uuid::now_v7());
    let wallet = open_wallet(&db.pool, user, "USD").await;
    let (dollar, euro) = (money("1 USD"), money("1 EUR"));
    let nowhere = AccountId(Uuid::now_v7());

    for (instruction, refusal) in [
        (Instruction::Deposit { wallet, money: euro }, PlacementRefusal::CurrencyMismatch),
        (Instruction::Withdrawal { wallet, money: euro }, PlacementRefusal::CurrencyMismatch),
        (Instruction::Withdrawal { wallet, money: dollar }, PlacementRefusal::InsufficientFunds),
        (Instruction::Deposit { wallet: nowhere, money: euro }, PlacementRefusal::WalletNotFound),
    ] {
        assert_eq!(place(&db.pool, user, instruction).await, Err(refusal), "{instruction:?}");
    }

    assert_eq!(count(&db.pool, "select count(*) from payments.accounts").await, 1);
}

#[tokio::test]
async fn of_two_refunds_in_one_transaction_the_first_is_taken() {
    let db = TestDb::new().await;
    let (alice, bob) = (UserId(Uuid::now_v7()), UserId(Uuid::now_v7()));
    let source = open_wallet(&db.pool, alice, "USD").await;
    let destination = open_wallet(&db.pool, bob, "USD").await;
    fund(&db.pool, alice, source, "10 USD").await;
    fund(&db.pool, bob, destination, "10 USD").await;
    let instruction = Instruction::Transfer { source, destination, money: money("4 USD") };
    let transfer = place(&db.pool, alice, instruction).await.unwrap().id;
    execute(&db.pool, &[transfer]).await;
    let refund = NewOrder {
        owner: bob,
        instruction: Instruction::Refund { transfer },
        description: None,
        if_version: None,
    };

    let mut tx = db.pool.begin().await.unwrap();
    let placed = orders::place_many(&mut tx, &[&refund, &refund]).await.unwrap();
    tx.commit().await.unwrap();

    assert!(placed[0].is_ok(), "{placed:?}");
    assert_eq!(placed[1], Err(PlacementRefusal::AlreadyRefunded));
    let held = "select sum(held)::bigint from payments.accounts";
    assert_eq!(count(&db.pool, held).await, 4);
}
