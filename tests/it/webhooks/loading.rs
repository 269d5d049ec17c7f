//! What an attempt needs is read delivery by delivery, in a database that nobody has analysed yet,
//! too: there, all deliveries of an endpoint seem to be few.

use surety::deliveries::outgoing::{self, DeliveryKey};
use surety::ids::EndpointId;
use uuid::Uuid;

use super::*;

#[tokio::test]
async fn before_the_first_analyze_deliveries_are_found_by_their_keys() {
    let world = World::start().await;
    let pool = &world.api.pool;
    let (endpoint, _) = world.endpoint(&world.operator, "http://127.0.0.1:9/", json!({})).await;
    for table in ["deliveries.deliveries", "events.events"] {
        let never = format!("alter table {table} set (autovacuum_enabled = off)");
        sqlx::query(sqlx::AssertSqlSafe(never)).execute(pool).await.unwrap();
    }
    let fill = "
        with written as (
          insert into events.events (id, type, subject, body, occurred_at)
          select gen_random_uuid(), 'transaction.completed', 'txn_' || n, '{}', now()
          from generate_series(1, 5000) as n
          returning seq
        )
        insert into deliveries.deliveries (event_seq, endpoint_id)
        select seq, $1::uuid from written
        returning event_seq";
    let events: Vec<i64> = sqlx::query_scalar(fill).bind(&endpoint).fetch_all(pool).await.unwrap();
    let endpoint = EndpointId(endpoint.parse::<Uuid>().unwrap());
    let keys: Vec<DeliveryKey> =
        events[100..120].iter().map(|&event| DeliveryKey { event, endpoint }).collect();

    let mut tx = pool.begin().await.unwrap();
    let before = rows_read(&mut tx, "deliveries.deliveries").await;
    assert_eq!(outgoing::load(&mut tx, &keys).await.unwrap().len(), keys.len());
    let read = rows_read(&mut tx, "deliveries.deliveries").await - before;
    assert!((20..=60).contains(&read), "{read} rows were read for {}", keys.len());
}
