//! Reading transactions: one by its id, many by filters and pages.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::support::{TestApi, event};

/// Twelve transactions: odd ones in EUR, every third settled, every fourth failed, accounts in
/// turn.
async fn twelve() -> TestApi {
    let api = TestApi::start().await;
    for number in 1..=12 {
        let currency = if number % 2 == 1 { "EUR" } else { "USD" };
        let body = event(&format!("txn_{number}"))
            .replace("USD", currency)
            .replace("acc_user_789", &format!("acc_{}", number % 3))
            .replace("acc_merchant_456", &format!("acc_{}", (number + 1) % 3));
        assert_eq!(api.post(body).await.status, 202);
    }
    sqlx::raw_sql(
        "set local session_replication_role = replica;
         update payments.transactions set status = 'COMPLETED', processed_at = clock_timestamp()
           where id % 3 = 0;
         update payments.transactions set status = 'FAILED', failure_reason = 'same-account',
           processed_at = clock_timestamp() where id % 4 = 0 and id % 3 <> 0;
         update payments.transactions 
           set created_at = '2026-01-01T00:00:00Z'::timestamptz + id * interval '1 hour'",
    )
    .execute(&api.pool)
    .await
    .unwrap();
    api
}

fn ids(page: &Value) -> Vec<u32> {
    let transactions = page["transactions"].as_array().unwrap();
    let number = |it: &Value| it["transaction_id"].as_str().unwrap()[4..].parse().unwrap();
    transactions.iter().map(number).collect()
}

#[tokio::test]
async fn a_transaction_is_found_by_its_providers_id() {
    let api = twelve().await;

    let found = api.get("/v1/transactions/txn_4").await;

    assert_eq!(found.status, 200);
    let mut body = found.json();
    assert!(body["processed_at"].is_string());
    body["processed_at"] = Value::Null;
    assert_eq!(
        body,
        json!({
            "transaction_id": "txn_4",
            "source_account": "acc_1",
            "destination_account": "acc_2",
            "amount": "1500.00",
            "currency": "USD",
            "status": "FAILED",
            "failure_reason": "same-account",
            "created_at": "2026-01-01T04:00:00Z",
            "processed_at": null,
        })
    );
    let processing = api.get("/v1/transactions/txn_1").await.json();
    assert_eq!(processing["status"], "PROCESSING");
    assert_eq!(
        (&processing["failure_reason"], &processing["processed_at"]),
        (&json!(null), &json!(null))
    );
}

#[tokio::test]
async fn an_unknown_id_is_404_whatever_it_looks_like() {
    let api = TestApi::start().await;
    let long = "x".repeat(5000);
    for id in ["txn_1", "%00", "a%00b", "%27%20or%201=1--", "..%2F..", "%E2%82%AC", &long] {
        let answer = api.get(&format!("/v1/transactions/{id}")).await;
        assert_eq!((answer.status, answer.code()), (404, "transaction-not-found".into()), "{id}");
    }
    let answer = api.get("/v1/transactions/%FF").await;
    assert_eq!((answer.status, answer.code()), (400, "invalid-parameter".into()));
}

#[tokio::test]
async fn a_list_holds_what_matches_all_filters_newest_first() {
    let api = twelve().await;
    for (query, expected) in [
        ("", vec![12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]),
        ("status=COMPLETED", vec![12, 9, 6, 3]),
        ("status=FAILED", vec![8, 4]),
        ("status=PROCESSING", vec![11, 10, 7, 5, 2, 1]),
        ("status=PENDING", vec![]),
        ("currency=EUR", vec![11, 9, 7, 5, 3, 1]),
        ("account=acc_0", vec![12, 11, 9, 8, 6, 5, 3, 2]),
        ("account=acc_0&currency=EUR", vec![11, 9, 5, 3]),
        ("account=acc_0&status=COMPLETED&currency=USD", vec![12, 6]),
        ("account=nobody", vec![]),
        ("created_from=2026-01-01T10:00:00Z", vec![12, 11, 10]),
        ("created_before=2026-01-01T03:00:00Z", vec![2, 1]),
        (
            "created_from=2026-01-01T05:00:00%2B01:00&created_before=2026-01-01T06:00:00Z",
            vec![5, 4],
        ),
        ("account=acc_0&created_before=2026-01-01T06:00:00Z", vec![5, 3, 2]),
        ("limit=2", vec![12, 11]),
        ("limit=200", vec![12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]),
    ] {
        let answer = api.get(&format!("/v1/transactions?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text);
        assert_eq!(ids(&answer.json()), expected, "{query}");
    }
}

#[tokio::test]
async fn pages_hold_everything_once_while_more_arrives() {
    let api = twelve().await;
    for filter in ["", "&account=acc_0", "&status=PROCESSING", "&currency=USD"] {
        let whole = ids(&api.get(&format!("/v1/transactions?limit=200{filter}")).await.json());
        let (mut paged, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = api.get(&format!("/v1/transactions?limit=3{filter}{cursor}")).await.json();
            paged.extend(ids(&page));
            api.post(event(&format!("txn_{}", 100 + paged.len()))).await;
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(paged, whole, "{filter}");
        assert_eq!(paged.iter().collect::<HashSet<_>>().len(), whole.len());
    }
}

#[tokio::test]
async fn a_cursor_is_good_only_for_the_list_that_gave_it() {
    let api = twelve().await;
    let page = api.get("/v1/transactions?limit=2&currency=EUR").await.json();
    let cursor = page["next_cursor"].as_str().unwrap().to_owned();
    // The size of the pages may change on the way.
    let next = api.get(&format!("/v1/transactions?limit=1&currency=EUR&cursor={cursor}")).await;
    assert_eq!(ids(&next.json()), [7]);

    let mut tampered = cursor.clone().into_bytes();
    tampered[5] = if tampered[5] == b'A' { b'B' } else { b'A' };
    let tampered = String::from_utf8(tampered).unwrap();
    for (filter, cursor) in [
        ("", cursor.as_str()),
        ("currency=USD&", &cursor),
        ("currency=EUR&status=FAILED&", &cursor),
        ("currency=EUR&", &tampered),
        ("currency=EUR&", &cursor[..cursor.len() - 2]),
        ("currency=EUR&", ""),
        ("currency=EUR&", "12"),
        ("currency=EUR&", "%00"),
    ] {
        let answer = api.get(&format!("/v1/transactions?{filter}cursor={cursor}")).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "invalid-cursor".into()),
            "{filter}{cursor}"
        );
    }
}

#[tokio::test]
async fn a_wrong_parameter_is_refused_by_its_name() {
    let api = TestApi::start().await;
    for (query, name) in [
        ("status=DONE", "status"),
        ("status=completed", "status"),
        ("currency=usd", "currency"),
        ("currency=XXX", "currency"),
        ("account=", "account"),
        ("account=a%00b", "account"),
        ("created_from=yesterday", "created_from"),
        ("created_before=2026-01-01", "created_before"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=-1", "limit"),
        ("limit=1e2", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("limit=1&limit=2", "limit"),
        ("stauts=FAILED", "stauts"),
        ("offset=10", "offset"),
    ] {
        let answer = api.get(&format!("/v1/transactions?{query}")).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid-parameter".into()), "{query}");
        assert_eq!(answer.json()["errors"][0]["pointer"], format!("?{name}"), "{query}");
    }
}

#[tokio::test]
async fn a_head_is_a_get_without_the_body() {
    let api = twelve().await;

    let answer = crate::support::send(api.request("HEAD", "/v1/transactions/txn_1")).await;

    assert_eq!((answer.status, answer.text.as_str()), (200, ""));
    assert_eq!(answer.header("content-type"), "application/json");
}
