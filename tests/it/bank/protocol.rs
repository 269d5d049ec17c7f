//! The parts together: whoever follows the log ends up with what the bank booked, whatever the bank
//! does to the answers and wherever the caller dies.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;
use surety::bank::call_log::{CallOperation, CallResult, begin, finish, may_have_acted};
use surety::bank::{BankClient, BankError, BankInstruction, PaymentStatus};
use tokio::task::JoinSet;

use super::{TestBank, deposit};
use crate::support::TestDb;

const ORDERS: u32 = 60;

/// One attempt: whether the money moved, once that is certain. It may die after the call, before
/// anything of it is written.
async fn attempt(
    pool: &PgPool,
    client: &BankClient,
    order: &BankInstruction,
    dies: bool,
) -> Option<bool> {
    let mut conn = pool.acquire().await.unwrap();
    if may_have_acted(&mut conn, &order.effect_key).await.unwrap() {
        let call = begin(&mut conn, CallOperation::Enquire, order).await.unwrap();
        drop(conn);
        let result = client.enquire(&order.effect_key).await;
        if dies {
            return None;
        }
        let mut conn = pool.acquire().await.unwrap();
        finish(&mut conn, call, &CallResult::of_enquiry(&result)).await.unwrap();
        return match result {
            Ok(PaymentStatus::Booked(receipt)) => {
                assert_eq!(receipt.money, order.money);
                Some(true)
            }
            Ok(PaymentStatus::Declined { .. }) => Some(false),
            Ok(PaymentStatus::Pending | PaymentStatus::Unknown) | Err(_) => None,
        };
    }
    let call = begin(&mut conn, CallOperation::Send, order).await.unwrap();
    drop(conn);
    let result = client.send(order).await;
    if dies {
        return None;
    }
    let mut conn = pool.acquire().await.unwrap();
    finish(&mut conn, call, &CallResult::of_send(&result)).await.unwrap();
    match result {
        Ok(_) => Some(true),
        Err(BankError::Declined { .. }) => Some(false),
        Err(_) => None,
    }
}

#[tokio::test]
async fn whoever_follows_the_log_knows_in_the_end_what_the_bank_booked() {
    let db = TestDb::new().await;
    let bank = TestBank::start(json!({
        "success_rate": 0.2, "timeout_rate": 0.1, "unavailable_rate": 0.1,
        "insufficient_funds_rate": 0.1, "accept_then_timeout_rate": 0.1, "answer_twice_rate": 0.1,
        "late_rate": 0.1, "cut_body_rate": 0.1, "wrong_amount_rate": 0.1,
        "latency": "0s..20ms", "late_after": "500ms..1500ms",
    }))
    .await;
    let mut orders = JoinSet::new();
    for number in 0..ORDERS {
        let (pool, client) = (db.pool.clone(), bank.client(Duration::from_secs(1)));
        orders.spawn(async move {
            let order = deposit(&format!("surety-{number}"), "12.50");
            let mut random = fastrand::Rng::with_seed(u64::from(number));
            loop {
                let dies = random.u8(..3) == 0;
                if let Some(moved) = attempt(&pool, &client, &order, dies).await {
                    return (order.effect_key.to_string(), moved);
                }
                // As a retry would; without any pause, pending orders keep the machine busy.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    let known: BTreeMap<String, bool> = orders.join_all().await.into_iter().collect();

    let mut booked: BTreeMap<String, u32> = BTreeMap::new();
    for booking in bank.statement().await {
        assert_eq!(booking["amount"], json!("12.50"));
        *booked.entry(booking["effect_key"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(known.len(), ORDERS as usize);
    for (effect_key, moved) in &known {
        assert_eq!(booked.get(effect_key).copied().unwrap_or(0), u32::from(*moved), "{effect_key}");
    }
    assert!(booked.len() < known.len() && booked.len() > 20, "both ends occur: {}", booked.len());
    // Nothing was sent again without a word of the bank's that it knew nothing of it.
    let blind: i64 = sqlx::query_scalar(
        "select count(*)
         from bank.calls as again
         join bank.calls as before using (effect_key, operation)
         where operation = 'send' and again.id > before.id
           and (before.outcome is null or before.outcome not in ('unavailable', 'declined'))
           and not exists (
             select
             from bank.calls as enquired
             where enquired.effect_key = again.effect_key
               and enquired.outcome = 'unknown_key'
               and enquired.id between before.id and again.id
           )",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert_eq!(blind, 0);
}
