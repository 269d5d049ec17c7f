//! `app rotate-job-keys`: which key is still needed, and what can be retired.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgPool;
use surety::queue::sealing::Keyring;
use surety::queue::sealing::rotation::{KeyUse, keys_in_use};
use surety::queue::{
    Committed, Job, JobContext, JobError, NewJob, Registry, Worker, WorkerSettings, enqueue,
};

use crate::support::{App, Binary as _, TestDb, scratch_dir};

const OLD: &str = "old:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const NEW: &str = "new:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

/// A job of a sealed kind.
#[derive(Serialize, Deserialize)]
struct SetPin {
    pin: String,
}

impl Job for SetPin {
    const KIND: &'static str = "set_pin";
    const SEALED: bool = true;
    type State = ();

    async fn run(self, _state: &(), cx: JobContext) -> Result<Committed, JobError> {
        let tx = cx.begin().await?;
        cx.complete(tx).await
    }
}

fn ring(keys: &[&str]) -> Keyring {
    keys.join(",").parse().unwrap()
}

async fn enqueue_sealed(pool: &PgPool, pin: &str, keys: &[&str]) {
    let job = NewJob::sealed(&SetPin { pin: pin.to_owned() }, &ring(keys)).unwrap();
    enqueue(&mut pool.acquire().await.unwrap(), job).await.unwrap();
}

fn sealed_worker(pool: &PgPool, keys: &[&str]) -> Worker<()> {
    let settings = WorkerSettings { keyring: Some(ring(keys)), ..WorkerSettings::default() };
    Worker::new(pool.clone(), Registry::new(()).register::<SetPin>(), settings).unwrap()
}

async fn keys(pool: &PgPool) -> Vec<(Option<String>, [i64; 4])> {
    let part = |it: KeyUse| (it.key, [it.waiting, it.running, it.discarded, it.history]);
    keys_in_use(pool).await.unwrap().into_iter().map(part).collect()
}

fn of(key: &str, parts: [i64; 4]) -> (Option<String>, [i64; 4]) {
    (Some(key.to_owned()), parts)
}

/// Runs `app rotate-job-keys`: the exit code, and what it said.
async fn rotate(db: &TestDb, keys: &[&str], args: &[&str]) -> (Option<i32>, String) {
    let command = App::command([&["rotate-job-keys"], args].concat());
    let command = command.env("DATABASE_URL", &db.url).env("APP_JOB_KEYS", keys.join(","));
    let (status, output) = command.run().await;
    (status.code(), output)
}

#[tokio::test]
async fn the_command_says_who_has_which_key_reseals_and_says_what_can_be_retired() {
    let db = TestDb::new().await;
    enqueue_sealed(&db.pool, "done", &[OLD]).await;
    sealed_worker(&db.pool, &[OLD]).run_until_idle().await.unwrap();
    for n in 0..5 {
        enqueue_sealed(&db.pool, &n.to_string(), &[OLD]).await;
    }

    let (code, output) = rotate(&db, &[NEW, OLD], &["--dry-run"]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("the current key is new; nothing was changed"), "{output}");
    assert!(output.contains("still needed"), "{output}");
    assert_eq!(keys(&db.pool).await, [of("old", [5, 0, 0, 1])]);

    let (code, output) = rotate(&db, &[NEW], &[]).await;
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("5 could not be opened"), "{output}");
    assert!(output.contains("not in APP_JOB_KEYS, and needed"), "{output}");

    let (code, output) = rotate(&db, &[NEW, OLD], &["--batch", "2"]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("5 jobs have key new now; 0 were busy, 0 could"), "{output}");
    assert!(output.contains("can be retired"), "{output}");
    assert_eq!(keys(&db.pool).await, [of("new", [5, 0, 0, 0]), of("old", [0, 0, 0, 1])]);

    let (code, output) = rotate(&db, &[NEW, OLD], &["-o", "json"]).await;
    assert_eq!(code, Some(0), "{output}");
    let said: Value = serde_json::from_str(&output).unwrap();
    assert_eq!((&said["current"], &said["can_be_retired"]), (&json!("new"), &json!(["old"])));
    assert_eq!(said["done"], json!({ "resealed": 0, "skipped": 0, "unopened": 0 }));
    let new = json!({ "key": "new", "waiting": 5, "running": 0, "discarded": 0, "history": 0 });
    assert_eq!(said["keys"][0], new);
    assert!(!output.contains("AAAA") && !output.contains("AQEB"), "{output}");
}

#[tokio::test]
async fn keys_that_cannot_be_right_are_refused_without_being_shown() {
    let db = TestDb::new().await;
    for command in ["rotate-job-keys", "work"] {
        let wrong = format!("{OLD},{}", &NEW[4..]);
        let command = App::command([command]).env("DATABASE_URL", &db.url);
        let (status, output) = command.env("APP_JOB_KEYS", wrong).run().await;
        assert_eq!(status.code(), Some(78), "{output}");
        assert!(output.contains("APP_JOB_KEYS") && output.contains("key 2 has no id"), "{output}");
        assert!(!output.contains("AQEB") && !output.contains("AAAA"), "{output}");
    }
    let (code, output) = rotate(&db, &[], &[]).await;
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("there are no keys: set APP_JOB_KEYS"), "{output}");

    let dir = scratch_dir();
    let file = dir.join("job-keys");
    std::fs::write(&file, format!("{NEW}\n{OLD}\n")).unwrap();
    let command = App::command(["rotate-job-keys"]).env("DATABASE_URL", &db.url);
    let (status, output) = command.env("APP_JOB_KEYS_FILE", &file).run().await;
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(output.contains("nothing has key old: it can be retired"), "{output}");
}
