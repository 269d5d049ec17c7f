//! `app dead-letters`.

use serde_json::{Value, json};
use surety::payments::orders;

use super::{World, failed, is, pair};
use crate::support::money::discarded_job;
use crate::support::{App, Binary as _, TestDb, wait_for_locks};

impl World {
    /// Runs `app dead-letters` on the database of this world: the exit code, and what it said.
    pub(super) async fn run(&self, args: &[&str]) -> (Option<i32>, String) {
        let url = &self.api.db.as_ref().unwrap().url;
        let command = App::command([&["dead-letters"], args].concat());
        let (status, output) = command.env("DATABASE_URL", url).env("USER", "ada").run().await;
        (status.code(), output)
    }
}

#[tokio::test]
async fn the_commands_list_and_show_what_the_api_does() {
    let world = World::new().await;
    let (_, job) = world.stuck("30 USD").await;

    let (code, output) = world.run(&["list"]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("GIVEN UP") && output.contains("execute_transfer"), "{output}");
    let (_, output) = world.run(&["list", "-o", "json"]).await;
    let listed: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(listed, world.list("").await["dead_letters"]);
    let (_, output) = world.run(&["list", "-o", "jsonl", "--kind", "other"]).await;
    assert_eq!(output, "warning: nobody knows a kind other");

    let (code, output) = world.run(&["show", &job.to_string(), "-o", "json"]).await;
    assert_eq!(code, Some(0), "{output}");
    assert_eq!(serde_json::from_str::<Value>(&output).unwrap(), world.show(job).await);
    let (code, output) = world.run(&["show", &job.to_string()]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("waits for a decision") && output.contains("30.00 USD"), "{output}");
}

#[tokio::test]
async fn a_redrive_by_command_is_that_of_the_api_and_names_who_and_why() {
    let world = World::new().await;
    let (order, job) = world.stuck("30 USD").await;
    let number = job.to_string();
    let redrive = ["redrive", &number, "--reason", "the bank is back"];

    let (code, output) = world.run(&[&redrive[..], &["--dry-run"]].concat()).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("would run again"), "{output}");
    assert_eq!(world.listed().await, [job]);

    let (code, output) = world.run(&redrive).await;
    assert_eq!(code, Some(0), "{output}");
    assert_eq!(world.outcome(order).await, is("PENDING"));
    assert_eq!(world.balance().await, pair("100.00", "70.00"));
    let decided = &world.show(job).await["decisions"][0];
    assert_eq!(decided["decided_by"], "cli:ada");
    assert_eq!(decided["reason"], "the bank is back");
    let (code, output) = world.run(&redrive).await;
    assert_eq!(code, Some(5), "{output}");
    world.verify().await;
}

#[tokio::test]
async fn all_of_a_kind_are_redriven_only_with_consent_and_what_cannot_be_stays() {
    let world = World::new().await;
    let (older, older_job) = world.stuck("30 USD").await;
    let (newer, newer_job) = world.stuck("40 USD").await;
    let other = discarded_job(world.pool()).await;
    let all = ["redrive", "--all", "--kind", "execute_transfer", "--reason", "again"];

    let (code, output) = world.run(&all).await;
    assert_eq!(code, Some(2), "{output}");
    assert_eq!(world.listed().await.len(), 3);
    let (code, output) = world.run(&[&all[..], &["--dry-run", "-o", "json"]].concat()).await;
    assert_eq!(code, Some(0), "{output}");
    let results: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(results.as_array().unwrap().len(), 2);
    assert_eq!(results[0]["result"], "would-redrive");
    assert_eq!(world.listed().await.len(), 3);

    // Somebody decides over the older one before all are redriven.
    let mut decided = world.pool().begin().await.unwrap();
    sqlx::query("update payments.orders set description = 'looked at' where id = $1")
        .bind(older)
        .execute(&mut *decided)
        .await
        .unwrap();
    let ((), (code, output)) = tokio::join!(
        async {
            wait_for_locks(world.pool(), 1).await;
            let _ = orders::fail(&mut decided, older, "other").await.unwrap();
            decided.commit().await.unwrap();
        },
        async { world.run(&[&all[..], &["--yes", "-o", "jsonl"]].concat()).await },
    );
    assert_eq!(code, Some(5), "{output}");
    let results: Vec<Value> =
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(results[0], json!({ "job_id": newer_job, "result": "redriven" }));
    assert_eq!(
        (&results[1]["job_id"], &results[1]["result"]),
        (&json!(older_job), &json!("nothing-to-redrive"))
    );
    assert_eq!(world.outcome(newer).await, is("PENDING"));
    assert!(world.listed().await.contains(&other.0));
}

#[tokio::test]
async fn a_write_off_by_command_releases_the_hold() {
    let mut world = World::new().await;
    let (order, job) = world.in_doubt().await;
    let args = ["write-off", &job.to_string(), "--reason", "never sent", "--by", "grace"];
    let (code, output) = world.run(&args).await;
    assert_eq!(code, Some(0), "{output}");
    assert_eq!(world.outcome(order).await, failed("written-off"));
    assert_eq!(world.balance().await, pair("100.00", "100.00"));
    assert_eq!(world.show(job).await["decisions"][0]["decided_by"], "cli:grace");
    world.verify().await;
}

#[tokio::test]
async fn what_is_not_there_and_what_makes_no_sense_have_exit_codes_of_their_own() {
    let db = TestDb::new().await;
    for (args, expected) in [
        (&["show", "4711"][..], 3),
        (&["redrive", "4711", "--reason", "why"], 3),
        (&["write-off", "4711", "--reason", "why"], 3),
        (&["redrive", "4711"], 2),
        (&["redrive", "--reason", "why"], 2),
        (&["redrive", "4711", "--all", "--yes", "--reason", "why"], 2),
        (&["redrive", "4711", "--reason", " "], 2),
        (&["write-off", "--reason", "why"], 2),
        (&["redrive", "--all", "--yes", "--reason", "why"], 0),
    ] {
        let command = App::command([&["dead-letters"], args].concat());
        let (status, output) = command.env("DATABASE_URL", &db.url).run().await;
        assert_eq!(status.code(), Some(expected), "{args:?}: {output}");
    }
}

#[tokio::test]
async fn app_jobs_redrives_what_money_waits_for_by_the_same_steps() {
    let world = World::new().await;
    let (order, job) = world.stuck("30 USD").await;
    let url = &world.api.db.as_ref().unwrap().url;
    let jobs = |args: &[&str]| {
        let job = job.to_string();
        let command = App::command([&["jobs"], args, &[&job, "--reason", "case 4711"]].concat());
        command.env("DATABASE_URL", url).env("USER", "ada").run()
    };

    let (status, output) = jobs(&["retry"]).await;
    assert_eq!(status.code(), Some(0), "{output}");
    assert_eq!(world.outcome(order).await, is("PENDING"));
    assert_eq!(world.balance().await, pair("100.00", "70.00"));

    // Put away again before it has run: only what was not redriven at this attempt can be.
    let (status, output) = jobs(&["discard"]).await;
    assert_eq!(status.code(), Some(5), "{output}");
    world.bank.turn(json!({ "success_rate": 1 })).await;
    world.bank.run_jobs(world.pool()).await;
    assert_eq!(world.outcome(order).await, is("COMPLETED"));
    let (status, output) = jobs(&["retry"]).await;
    assert_eq!(status.code(), Some(5), "{output}");
    world.verify().await;
}

#[tokio::test]
async fn a_money_job_that_an_operator_discards_while_it_waits_is_a_dead_letter_like_others() {
    let world = World::new().await;
    let order = world.order("/v1/withdrawals", "30 USD").await;
    let job = world.job(order).await;
    let url = &world.api.db.as_ref().unwrap().url;
    let id = job.to_string();
    let command = App::command(["jobs", "discard", &id, "--reason", "hold it"]);
    let (status, output) = command.env("DATABASE_URL", url).env("USER", "ada").run().await;
    assert_eq!(status.code(), Some(0), "{output}");
    assert_eq!(world.listed().await, [job]);
    world.verify().await;
    world.write_off(job).await;
    assert_eq!(world.outcome(order).await, failed("written-off"));
    assert_eq!(world.balance().await, pair("100.00", "100.00"));
    world.bank.run_jobs(world.pool()).await;
    assert_eq!(world.outcome(order).await, failed("written-off"));
    world.verify().await;
}
