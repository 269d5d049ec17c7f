//! Requests of which the database keeps a client waiting.

use super::{KEY, is_replay, open_api, rows};
use crate::support::money::{Customer, over};
use crate::support::wait_for_locks;
use crate::support::{Answer, TestApi, send};

async fn deposit(api: &TestApi, alice: &Customer, key: &str) -> Answer {
    let request = alice.request(api, "/v1/deposits", &over(alice.wallet, "1 USD"));
    send(request.header(KEY, key)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_request_is_under_way_its_twin_is_told_to_come_again() {
    let api = open_api().await;
    let alice = Customer::new(&api).await;
    // The first has its key by now, and waits to store its order.
    let mut gate = api.pool.begin().await.unwrap();
    sqlx::raw_sql("lock table payments.orders in share mode").execute(&mut *gate).await.unwrap();
    let (first, second) = tokio::join!(deposit(&api, &alice, "k"), async {
        wait_for_locks(&api.pool, 1).await;
        let second = deposit(&api, &alice, "k").await;
        gate.rollback().await.unwrap();
        second
    });

    assert_eq!((second.status, second.code().as_str()), (409, "idempotency-key-in-use"));
    assert_eq!(second.header("retry-after"), "1");
    assert_eq!((first.status, is_replay(&first)), (202, false), "{first:?}");
    let third = deposit(&api, &alice, "k").await;
    assert_eq!((third.status, is_replay(&third)), (202, true));
    assert_eq!(third.text, first.text);
    assert_eq!(rows(&api).await, (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_unknown_outcome_may_be_sent_again_and_is_done_once() {
    let api = open_api().await;
    let alice = Customer::new(&api).await;
    let mut gate = api.pool.begin().await.unwrap();
    sqlx::raw_sql("lock table payments.orders in share mode").execute(&mut *gate).await.unwrap();

    let unknown = deposit(&api, &alice, "k").await;

    assert_eq!((unknown.status, unknown.code().as_str()), (503, "unavailable"));
    assert_ne!(unknown.header("retry-after"), "");
    gate.rollback().await.unwrap();
    // The server has not noticed yet that nobody waits for the first.
    let again = loop {
        let again = deposit(&api, &alice, "k").await;
        if again.status != 409 {
            break again;
        }
    };
    assert_eq!((again.status, is_replay(&again)), (202, false), "{again:?}");
    assert_eq!(rows(&api).await, (1, 1, 1));
}
