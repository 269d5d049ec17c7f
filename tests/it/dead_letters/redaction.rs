//! What of a dead letter's arguments is shown.

use serde_json::json;

use super::{World, is, pair};

#[tokio::test]
async fn what_a_kind_hides_is_shown_nowhere_and_decisions_know_it_all_the_same() {
    let world = World::new().await;
    let (order, job) = world.stuck("30 USD").await;
    sqlx::query("update queue.kinds set redacted = '{order}' where kind = 'execute_transfer'")
        .execute(world.pool())
        .await
        .unwrap();

    let hidden = json!({ "order": "[redacted]" });
    assert_eq!(world.list("").await["dead_letters"][0]["args"], hidden);
    let letter = world.show(job).await;
    assert_eq!(letter["args"], hidden);
    assert_eq!(letter["order"]["id"], order.to_string());
    let number = job.to_string();
    for args in [
        &["list", "-o", "jsonl"][..],
        &["list"],
        &["show", &number],
        &["show", &number, "-o", "json"],
    ] {
        let (code, output) = world.run(args).await;
        assert_eq!(code, Some(0), "{output}");
        assert!(!output.contains("\"args\"") || output.contains("[redacted]"), "{output}");
    }

    // The order is found and executed.
    world.redrive(job).await;
    assert_eq!(world.outcome(order).await, is("PENDING"));
    world.bank.turn(json!({ "success_rate": 1 })).await;
    world.bank.run_jobs(world.pool()).await;
    assert_eq!(world.outcome(order).await, is("COMPLETED"));
    assert_eq!(world.balance().await, pair("70.00", "70.00"));
    world.verify().await;
}
