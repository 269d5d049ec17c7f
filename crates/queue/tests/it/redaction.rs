//! What of a job's arguments people are shown.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use surety_queue::enqueue::kinds;
use surety_queue::operate::discarded::{self, Filter};
use surety_queue::{
    Committed, FollowUp, Job, JobContext, JobError, NewJob, Registry, Worker, WorkerSettings,
};
use tokio_util::sync::CancellationToken;

use super::kinds::{
    attempts_of, count, enqueue_job, enqueue_new, eventually, idle_worker, job, state_of,
};
use crate::support::TestDb;

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Card {
    number: String,
    holder: String,
}

/// Fails, unless it is for nothing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct ChargeCard {
    card: Card,
    others: Vec<Card>,
    cvv: Option<String>,
    amount: i64,
}

impl ChargeCard {
    fn of(amount: i64) -> Self {
        let card = |number: &str| Card { number: number.into(), holder: "Ada".into() };
        let others = vec![card("pan4222"), card("pan4333")];
        Self { card: card("pan4111"), others, cvv: Some("pan4444".into()), amount }
    }
}

impl Job for ChargeCard {
    const KIND: &'static str = "charge_card";
    const MAX_ATTEMPTS: i16 = 1;
    const REDACTED: &'static [&'static str] = &["card.number", "others.number", "cvv"];
    const ON_DISCARD: Option<FollowUp> = Some(FollowUp::job::<Apologise>());
    type State = ();

    async fn run(self, _state: &(), cx: JobContext) -> Result<Committed, JobError> {
        assert_eq!(self, Self::of(self.amount), "the handler gets all of it");
        match self.amount {
            0 => cx.complete_without_effects().await,
            _ => Err(anyhow::anyhow!("declined").into()),
        }
    }
}

/// What is secret of its arguments is said by the kind that it follows.
#[derive(Serialize, Deserialize)]
struct Apologise {
    job: i64,
    kind: String,
    args: ChargeCard,
}

impl Job for Apologise {
    const KIND: &'static str = "apologise";
    type State = ();

    async fn run(self, _state: &(), cx: JobContext) -> Result<Committed, JobError> {
        assert_eq!(self.args, ChargeCard::of(self.args.amount));
        cx.complete_without_effects().await
    }
}

/// The same kind as [`ChargeCard`] in a binary that was built before any of it was secret.
#[derive(Serialize, Deserialize)]
struct OldChargeCard {}

impl Job for OldChargeCard {
    const KIND: &'static str = "charge_card";
    const PRIORITY: i16 = 3;
    const REDACTED: &'static [&'static str] = &["note"];
    type State = ();

    async fn run(self, _state: &(), cx: JobContext) -> Result<Committed, JobError> {
        cx.complete_without_effects().await
    }
}

fn charging_worker(db: &TestDb) -> Worker<()> {
    let registry = Registry::new(()).register::<ChargeCard>().register::<Apologise>();
    Worker::new(db.pool.clone(), registry, WorkerSettings::default()).unwrap()
}

fn shown(amount: i64) -> Value {
    let card = json!({ "number": "[redacted]", "holder": "Ada" });
    json!({ "card": card, "others": [card, card], "cvv": "[redacted]", "amount": amount })
}

#[tokio::test]
async fn redacted_fields_are_shown_to_nobody_in_any_state() {
    let db = TestDb::new().await;
    let done = enqueue_job(&db.pool, &ChargeCard::of(0)).await;
    let failed = enqueue_job(&db.pool, &ChargeCard::of(1)).await;
    charging_worker(&db).run_until_idle().await.unwrap();
    let waiting = enqueue_job(&db.pool, &ChargeCard::of(2)).await;

    for (id, state, amount) in
        [(done, "completed", 0), (failed, "discarded", 1), (waiting, "available", 2)]
    {
        assert_eq!(state_of(&db.pool, id).await, state);
        let found = job(&db.pool, id).await;
        assert_eq!(found.args, shown(amount));
        let said = format!("{found:?} {}", serde_json::to_string(&found).unwrap());
        assert!(
            !["pan4111", "pan4222", "pan4333", "pan4444"].iter().any(|it| said.contains(it)),
            "{said}"
        );
        // Whoever asks for them as a program gets them.
        assert_eq!(found.stored_args.parse(), Some(ChargeCard::of(amount)));
    }
    let mut conn = db.pool.acquire().await.unwrap();
    let listed = discarded::list(&mut conn, &Filter::default(), None, 10).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].args, shown(1));
}

#[tokio::test]
async fn a_follow_up_shows_nothing_of_what_the_job_that_it_follows_hides() {
    let db = TestDb::new().await;
    let failed = enqueue_job(&db.pool, &ChargeCard::of(1)).await;

    let summary = charging_worker(&db).run_until_idle().await.unwrap();

    assert_eq!((summary.discarded, summary.completed), (1, 1));
    let apology: i64 =
        sqlx::query_scalar("select id from queue.finished_jobs where kind = 'apologise'")
            .fetch_one(&db.pool)
            .await
            .unwrap();
    let found = job(&db.pool, surety_queue::JobId(apology)).await;
    let expected = json!({ "job": failed.0, "kind": "charge_card", "args": shown(1) });
    assert_eq!(found.args, expected);
}

#[tokio::test]
async fn an_older_worker_that_starts_last_takes_nothing_back() {
    let db = TestDb::new().await;
    charging_worker(&db).run_until_idle().await.unwrap();

    let registry = Registry::new(()).register::<OldChargeCard>();
    let old = Worker::new(db.pool.clone(), registry, WorkerSettings::default()).unwrap();
    old.run_until_idle().await.unwrap();

    let mut conn = db.pool.acquire().await.unwrap();
    let known = kinds::list(&mut conn).await.unwrap();
    assert_eq!(
        known.iter().map(|it| it.kind.as_str()).collect::<Vec<_>>(),
        ["apologise", "charge_card"]
    );
    let charge = &known[1];
    assert_eq!(charge.redacted, ["card.number", "cvv", "note", "others.number"]);
    // What only helps those who enqueue is what was said last.
    assert_eq!((charge.priority, charge.max_attempts, charge.on_discard.is_some()), (3, 10, false));
    assert!(known[0].seen_at < charge.seen_at);
    let id = enqueue_job(&db.pool, &ChargeCard::of(0)).await;
    assert_eq!(job(&db.pool, id).await.args, shown(0));

    assert!(kinds::forget(&mut conn, "charge_card").await.unwrap());
    assert_eq!(job(&db.pool, id).await.args.fields()["cvv"].get(), "\"pan4444\"");
    assert!(!kinds::forget(&mut conn, "charge_card").await.unwrap());
}

#[tokio::test]
async fn a_worker_declares_its_kinds_before_it_claims() {
    let db = TestDb::new().await;
    // Holds the declaration up.
    let mut tx = db.pool.begin().await.unwrap();
    sqlx::query("lock table queue.kinds").execute(&mut *tx).await.unwrap();
    let id = enqueue_job(&db.pool, &ChargeCard::of(0)).await;
    let shutdown = CancellationToken::new();
    let worker = charging_worker(&db);
    let running = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { worker.run(shutdown).await }
    });

    eventually("the worker declares its kinds", async || {
        count(&db.pool, "select count(*) from pg_locks where not granted").await > 0
    })
    .await;
    assert_eq!(state_of(&db.pool, id).await, "available");
    tx.rollback().await.unwrap();

    eventually("the job is run", async || state_of(&db.pool, id).await == "completed").await;
    assert_eq!(job(&db.pool, id).await.args, shown(0));
    shutdown.cancel();
    assert_eq!(running.await.unwrap().completed, 1);
}

#[tokio::test]
async fn arguments_that_do_not_parse_are_not_repeated_where_some_are_secret() {
    let db = TestDb::new().await;
    let args = json!({ "card": "pan4111", "others": [], "cvv": "pan4444", "amount": 1 });
    let secret = enqueue_new(&db.pool, NewJob::raw("charge_card", args).max_attempts(1)).await;
    let open = NewJob::raw("act", json!({ "name": 4711 })).max_attempts(1);
    let open = enqueue_new(&db.pool, open).await;

    charging_worker(&db).run_until_idle().await.unwrap();
    idle_worker(&db.pool).run_until_idle().await.unwrap();

    let error = attempts_of(&db.pool, secret).await.remove(0).2.unwrap();
    assert!(error.starts_with("arguments of kind charge_card do not parse"), "{error}");
    assert!(!error.contains("pan4111") && !error.contains("pan4444"), "{error}");
    // Where nothing is secret, what is wrong is worth knowing.
    let error = attempts_of(&db.pool, open).await.remove(0).2.unwrap();
    assert!(error.contains("4711"), "{error}");
    // The card is no object any more: all of it is hidden.
    assert_eq!(job(&db.pool, secret).await.args.fields()["card"].get(), "\"[redacted]\"");
}

#[tokio::test]
async fn what_is_hidden_follows_from_the_paths_whatever_the_arguments_are() {
    let db = TestDb::new().await;
    sqlx::query(
        "insert into queue.kinds (kind, redacted, sealed, queue, priority, max_attempts)
         values
           ('a', '{pin,card.number,deep.er.still}', false, 'q', 2, 1),
           ('b', '{}', true, 'q', 2, 1)",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let hidden = "[redacted]";
    for (kind, args, expected) in [
        ("a", json!({}), json!({})),
        ("a", json!({ "pin": null, "Pin": 1 }), json!({ "pin": hidden, "Pin": 1 })),
        ("a", json!({ "pin": { "x": 1 } }), json!({ "pin": hidden })),
        ("a", json!({ "card": {} }), json!({ "card": {} })),
        ("a", json!({ "card": null }), json!({ "card": null })),
        ("a", json!({ "card": "pan4111" }), json!({ "card": hidden })),
        (
            "a",
            json!({ "card": [1, [{ "number": 1 }], null] }),
            json!({ "card": [hidden, hidden, null] }),
        ),
        (
            "a",
            json!({ "card": [{ "number": 1, "x": 2 }] }),
            json!({ "card": [{ "number": hidden, "x": 2 }] }),
        ),
        (
            "a",
            json!({ "deep": { "er": [{ "still": 1 }, { "more": 2 }], "x": 3 } }),
            json!({ "deep": { "er": [{ "still": hidden }, { "more": 2 }], "x": 3 } }),
        ),
        ("a", json!({ "deep": { "er": true } }), json!({ "deep": { "er": hidden } })),
        // Without a field there is nothing that a path could mean.
        ("a", json!("secret"), json!(hidden)),
        ("a", json!(["x"]), json!([hidden])),
        ("b", json!({ "x": 1, "y": { "z": 2 } }), json!({ "x": hidden, "y": hidden })),
        ("b", json!([1]), json!(hidden)),
        // Not sealed: nothing says so but its form.
        ("b", json!({ "sealed": "abc", "key": "k" }), json!({ "sealed": hidden, "key": hidden })),
        ("unknown", json!({ "pin": 1 }), json!({ "pin": 1 })),
        (
            "unknown",
            json!({ "job": 1, "kind": "a", "args": { "pin": 1 } }),
            json!({ "job": 1, "kind": "a", "args": { "pin": hidden } }),
        ),
        (
            "unknown",
            json!({ "job": 1, "kind": "b", "args": { "sealed": "abc", "key": "k" } }),
            json!({ "job": 1, "kind": "b", "args": { "sealed": true, "key": "k" } }),
        ),
    ] {
        let shown: Value = sqlx::query_scalar("select queue.shown_args($1, $2, null)")
            .bind(kind)
            .bind(&args)
            .fetch_one(&db.pool)
            .await
            .unwrap();
        assert_eq!(shown, expected, "{kind} {args}");
    }
}

#[cfg(feature = "schedules")]
#[tokio::test]
async fn what_a_kind_hides_is_hidden_in_its_schedules_and_their_jobs_have_it() {
    use std::time::Duration;

    use surety_queue::schedules::{self, Schedule};
    use time::OffsetDateTime;

    let db = TestDb::new().await;
    charging_worker(&db).run_until_idle().await.unwrap();
    let mut conn = db.pool.acquire().await.unwrap();
    let minutely = Schedule::every("minutely", Duration::from_secs(60)).job(&ChargeCard::of(0));
    schedules::put(&mut conn, &minutely.unwrap(), "ada").await.unwrap();

    let found = schedules::find(&mut conn, "minutely").await.unwrap().unwrap();
    assert_eq!(found.args, shown(0));
    assert_eq!(schedules::list(&mut conn).await.unwrap()[0].args, shown(0));

    let later = OffsetDateTime::now_utc() + Duration::from_secs(60);
    let ran = schedules::run_due_at(&mut conn, later).await.unwrap();
    assert_eq!(ran.jobs.len(), 1);
    assert_eq!(charging_worker(&db).run_until_idle().await.unwrap().completed, 1);
}

#[tokio::test]
async fn arguments_however_deep_do_not_keep_a_list_from_being_shown() {
    let db = TestDb::new().await;
    charging_worker(&db).run_until_idle().await.unwrap();
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(2000), close.repeat(2000));
    for (args, expected) in [
        (format!("{{\"card\": {}}}", deep("[", "]")), "{\"card\": [\"[redacted]\"]}"),
        (deep("{\"job\":1,\"kind\":\"charge_card\",\"args\":", "}"), "{\"job\": 1"),
        (deep("{\"card\":", "}"), "{\"card\": {\"card\": {"),
    ] {
        let shown: String =
            sqlx::query_scalar("select queue.shown_args('charge_card', $1::jsonb, null)::text")
                .bind(&args)
                .fetch_one(&db.pool)
                .await
                .unwrap_or_else(|error| panic!("{}…: {error}", &args[..40]));
        assert!(shown.starts_with(expected), "{}…", &shown[..60]);
    }
}
