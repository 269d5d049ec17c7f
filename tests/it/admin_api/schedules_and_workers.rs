//! Schedules are held up and run; workers are shown with what they run, and drained.

use std::time::Duration;

use serde_json::{Value, json};
use surety::operations::schedules::{self, IfTaken, Schedule};
use surety::operations::{Identity, Mode};
use surety::queue::NewJob;

use super::{Desk, WHY, refused};
use crate::support::{App, Binary as _, eventually_async};

async fn define(desk: &Desk, name: &str) {
    let schedule = Schedule::every(name, Duration::from_secs(86_400));
    let schedule = schedule.new_job(NewJob::raw("report", json!({ "pages": 1 }))).unwrap();
    let mut conn = desk.pool().acquire().await.unwrap();
    let by = Identity::command_line("test");
    schedules::define(&mut conn, &schedule, IfTaken::Refuse, &by, Mode::Commit).await.unwrap();
}

#[tokio::test]
async fn a_schedule_is_read_paused_resumed_and_run_now() {
    let desk = Desk::new().await;
    for name in ["nightly", "weekly"] {
        define(&desk, name).await;
    }
    let page = desk.read("/v1/schedules?limit=1").await;
    assert_eq!(page["schedules"][0]["name"], "nightly");
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = desk.read(&format!("/v1/schedules?limit=1&cursor={cursor}")).await;
    assert_eq!(
        (&next["schedules"][0]["name"], &next["next_cursor"]),
        (&json!("weekly"), &Value::Null)
    );
    let found = desk.read("/v1/schedules/nightly").await;
    assert_eq!(found["upcoming"].as_array().unwrap().len(), 5);
    assert_eq!(found["schedule"]["next_tick_at"], found["upcoming"][0]["tick_at"]);

    let paused = desk.post("/v1/schedules/nightly/pause").await.json();
    assert_eq!(paused["schedule"]["pause"]["reason"], WHY);
    let again = desk.post("/v1/schedules/nightly/pause").await;
    assert_eq!(refused(&again), (409, "schedule-paused".to_owned()));
    let resumed = desk.post("/v1/schedules/nightly/resume").await.json();
    assert_eq!(resumed["schedule"]["pause"], Value::Null);
    let again = desk.post("/v1/schedules/nightly/resume").await;
    assert_eq!(refused(&again), (409, "schedule-not-paused".to_owned()));

    let ran = desk.post("/v1/schedules/nightly/run").await;
    assert_eq!(ran.status, 202, "{ran:?}");
    let job = ran.json()["job_id"].as_i64().unwrap();
    assert_eq!(desk.read(&format!("/v1/jobs/{job}")).await["args"], json!({ "pages": 1 }));
    let ticks = desk.read("/v1/schedules/nightly").await["ticks"].clone();
    assert_eq!(ticks[0]["job_id"], job);
    assert_eq!(ticks[0]["requested_by"], format!("user:{}", desk.operator.id));
    for action in ["schedule.pause", "schedule.resume", "schedule.run"] {
        assert_eq!(desk.audited(action).await, desk.by_operator("nightly"), "{action}");
    }
    for path in ["/v1/schedules/none", "/v1/schedules/%00"] {
        assert_eq!(refused(&desk.get(path).await), (404, "schedule-not-found".to_owned()));
        assert_eq!(desk.post(&format!("{path}/run")).await.status, 404);
    }
}

#[tokio::test]
async fn a_worker_is_shown_with_what_it_runs_and_ends_when_it_is_drained() {
    let desk = Desk::new().await;
    let url = &desk.api.db.as_ref().unwrap().url;
    let mut worker =
        App::command(["work", "--worker-version", "2.0"]).env("DATABASE_URL", url).spawn();
    worker.wait_for_line("working").await;
    eventually_async("it is registered", async || {
        desk.read("/v1/workers").await["workers"].as_array().unwrap().len() == 1
    })
    .await;
    let listed = desk.read("/v1/workers").await["workers"][0].clone();
    assert_eq!((&listed["version"], &listed["state"]), (&json!("2.0"), &json!("working")));
    let id = listed["id"].as_str().unwrap();
    let running = "insert into queue.jobs
        (queue, kind, running, fence, worker_id, started_at, lease_expires_at, attempt)
        values ('default', 'report', true, nextval('queue.fence'), $1::uuid,
                now() - interval '5 minutes', now() + interval '1 hour', 2)";
    sqlx::query(running).bind(id).execute(desk.pool()).await.unwrap();
    let jobs = desk.read(&format!("/v1/workers/{id}")).await["jobs"].clone();
    assert_eq!((&jobs[0]["kind"], &jobs[0]["attempt"]), (&json!("report"), &json!(2)));
    let (status, output) = App::command(["workers", "list"]).env("DATABASE_URL", url).run().await;
    assert!(status.success() && output.contains("report for 5 min"), "{output}");

    let drained = desk.post(&format!("/v1/workers/{id}/drain")).await;
    assert_eq!(drained.status, 202, "{drained:?}");
    assert_eq!(worker.wait_for_exit().await.code(), Some(0), "{}", worker.output());
    assert_eq!(desk.audited("worker.drain").await, desk.by_operator(id));
    let gone = desk.post(&format!("/v1/workers/{id}/drain")).await;
    assert_eq!(refused(&gone), (404, "worker-not-found".to_owned()));
    assert_eq!(desk.get("/v1/workers/not-a-uuid").await.status, 400);
}
