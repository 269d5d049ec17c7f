//! Who may read the transactions that providers sent.

use surety::http::edge::caller::TransactionReaders;
use surety::identity::Role;

use crate::support::{Person, TestApi, event};

#[tokio::test]
async fn on_a_loopback_address_anybody_reads_transactions() {
    let api = TestApi::start().await;
    api.post(event("txn_1")).await;

    assert_eq!(api.get("/v1/transactions/txn_1").await.status, 200);
    assert_eq!(api.get("/v1/transactions").await.status, 200);
}

#[tokio::test]
async fn where_they_are_for_operators_others_learn_nothing() {
    let readers = Some(TransactionReaders::Operators);
    let api = TestApi::start_with(|settings| settings.transaction_readers = readers).await;
    api.post(event("txn_1")).await;
    let user = Person::new(&api, Role::User).await;
    let viewer = Person::new(&api, Role::Viewer).await;
    let operator = Person::new(&api, Role::Operator).await;

    for path in [
        "/v1/transactions/txn_1",
        "/v1/transactions/absent",
        "/v1/transactions",
        "/v1/transactions/txn_1/proof",
        "/v1/transactions/txn_1/timeline",
    ] {
        assert_eq!(api.get(path).await.code(), "unauthenticated", "{path}");
        assert_eq!(user.get(&api, path).await.code(), "forbidden", "{path}");
    }
    assert_eq!(viewer.get(&api, "/v1/transactions/txn_1").await.status, 200);
    assert_eq!(operator.get(&api, "/v1/transactions/txn_1").await.status, 200);
    assert_eq!(operator.get(&api, "/v1/transactions/absent").await.status, 404);
    assert_eq!(operator.get(&api, "/v1/transactions").await.status, 200);
}
