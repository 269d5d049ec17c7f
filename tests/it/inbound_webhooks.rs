//! Inbound webhooks: from the request to the rows, and what is answered when something is in the
//! way.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use surety::http::api::inbound_webhooks::ConflictAnswer;
use surety::http::edge::shared_commit::MAX_BATCH;
use surety::ids::TransactionId;
use surety::money::{Amount, Currency, Money};
use surety::payments::transactions::{self, NewTransaction, Recorded};
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use crate::support::{
    Answer, PATIENCE, TestApi, TestCluster, TestDb, event, event_of, migrated, raw_post, send,
};

#[tokio::test]
async fn an_accepted_webhook_is_one_transaction_and_one_job() {
    let api = TestApi::start().await;

    let answer = api.post(event("txn_1")).await;

    assert_eq!((answer.status, answer.json()), (202, json!({ "message": "accepted" })));
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(api.rows().await, (1, 1, 0));
    let job: Value = sqlx::query_scalar(
        "select jsonb_build_object(
           'kind', kind, 'args', args, 'due', run_at <= clock_timestamp()
         ) from queue.jobs",
    )
    .fetch_one(&api.pool)
    .await
    .unwrap();
    let id = api.count("select id from payments.transactions").await;
    let expected =
        json!({ "kind": "settle_transaction", "args": { "transaction": id }, "due": true });
    assert_eq!(job, expected);
}

#[tokio::test]
async fn the_body_is_kept_byte_by_byte() {
    let api = TestApi::start().await;
    let body = format!("\n  {}\t ", event("txn_1").replace("1500.00", "1500.0"));

    api.post(body.clone()).await;

    let stored: Vec<u8> = sqlx::query_scalar("select body from payments.transactions")
        .fetch_one(&api.pool)
        .await
        .unwrap();
    assert_eq!(String::from_utf8(stored).unwrap(), body);
}

#[tokio::test]
async fn a_duplicate_gets_the_same_answer_and_changes_nothing() {
    let mut api = TestApi::start().await;
    let first = api.post(event("txn_1")).await;

    for spelling in [
        event("txn_1"),
        event_of("txn_1", "1500"),
        event("txn_1").replace("\"1500.00\"", "1500.0"),
        r#"{"currency":"USD", "amount":1500, "destination_account":"acc_merchant_456",
            "source_account":"acc_user_789", "transaction_id":"txn\u005f1"}"#
            .to_owned(),
    ] {
        let again = api.post(spelling.clone()).await;
        assert_eq!((again.status, again.text), (202, first.text.clone()), "{spelling}");
    }
    assert_eq!(api.rows().await, (1, 1, 0));
    let summary = api.stop().await;
    assert_eq!((summary.accepted, summary.duplicates, summary.conflicts), (1, 4, 0));
}

#[tokio::test]
async fn other_content_for_a_known_id_is_refused_and_kept() {
    let api = TestApi::start().await;
    api.post(event("txn_1")).await;
    let other = event_of("txn_1", "1500.01");
    let another = event("txn_1").replace("acc_user_789", "acc_user_790");

    for body in [&other, &other, &another] {
        let answer = api.post(body.clone()).await;
        assert_eq!((answer.status, answer.code()), (409, "transaction-conflict".to_owned()));
    }

    assert_eq!(api.rows().await, (1, 1, 2));
    let kept: Vec<(Vec<u8>, i64)> = sqlx::query_as(
        "select body, received_count from payments.transaction_conflicts
         order by received_count desc",
    )
    .fetch_all(&api.pool)
    .await
    .unwrap();
    assert_eq!(kept, [(other.into_bytes(), 2), (another.into_bytes(), 1)]);
    let stored = api.get("/v1/transactions/txn_1").await.json();
    assert_eq!(
        (&stored["amount"], &stored["source_account"]),
        (&json!("1500.00"), &json!("acc_user_789"))
    );
}

#[tokio::test]
async fn where_conflicts_are_accepted_they_are_flagged_and_kept() {
    let api =
        TestApi::start_with(|settings| settings.conflict_answer = ConflictAnswer::Accept).await;
    api.post(event("txn_1")).await;

    let answer = api.post(event_of("txn_1", "1")).await;

    let expected = json!({ "message": "accepted", "flag": "conflict" });
    assert_eq!((answer.status, answer.json()), (202, expected));
    assert_eq!(api.rows().await, (1, 1, 1));
}

#[tokio::test]
async fn fifty_deliveries_at_once_make_one_job() {
    let api = TestApi::start().await;

    let answers = all(&api, vec![event("txn_1"); 50]).await;

    assert!(answers.iter().all(|it| it.status == 202 && it.text == answers[0].text));
    assert_eq!(api.rows().await, (1, 1, 0));
}

#[tokio::test]
async fn of_two_contents_at_once_exactly_one_wins() {
    let api = TestApi::start().await;
    for round in 0..20 {
        let id = format!("txn_{round}");
        let bodies = vec![event_of(&id, "1"), event_of(&id, "2"), event_of(&id, "1")];

        let statuses: Vec<u16> = all(&api, bodies).await.iter().map(|it| it.status).collect();

        let stored = api.get(&format!("/v1/transactions/{id}")).await.json();
        let expected = if stored["amount"] == "1.00" { [202, 409, 202] } else { [409, 202, 409] };
        assert_eq!(statuses, expected);
    }
    let (transactions, jobs, _) = api.rows().await;
    assert_eq!((transactions, jobs), (20, 20));
}

#[tokio::test]
async fn nothing_is_answered_before_its_commit() {
    let api = TestApi::start().await;
    let held = Held::new(&api).await;
    let mut posting = tokio::spawn(send(api.webhook(event("txn_1"))));
    held.until_someone_waits().await;

    let early = tokio::time::timeout(Duration::from_millis(200), &mut posting).await;

    assert!(early.is_err(), "answered before the commit: {early:?}");
    held.release().await;
    assert_eq!(posting.await.unwrap().status, 202);
}

#[tokio::test]
async fn requests_that_wait_together_commit_together() {
    let api = TestApi::start_with(|settings| settings.committers = 1).await;
    let held = Held::new(&api).await;
    let first = tokio::spawn(send(api.webhook(event("first"))));
    held.until_someone_waits().await;
    let mut others = JoinSet::new();
    for number in 0..MAX_BATCH {
        others.spawn(send(api.webhook(event(&format!("txn_{number}")))));
    }
    // Server and clients share this thread: those requests came before these, and were handed in.
    for _ in 0..5 {
        api.get("/healthz").await;
    }
    held.release().await;

    assert!(others.join_all().await.iter().all(|answer| answer.status == 202));
    assert_eq!(first.await.unwrap().status, 202);
    let commits = api.count("select count(distinct xmin::text) from payments.transactions").await;
    assert!(commits <= 10, "{MAX_BATCH} requests took {commits} commits");
    assert_eq!(api.rows().await, (257, 257, 0));
}

#[tokio::test]
async fn one_that_the_database_refuses_harms_no_other() {
    let api = TestApi::start_with(|settings| settings.committers = 1).await;
    sqlx::raw_sql(
        "create function refuse() returns trigger language plpgsql
           as $$ begin raise exception 'no'; end $$;
         create trigger poison before insert on payments.transactions
         for each row when (new.transaction_id = 'poison') execute function refuse();",
    )
    .execute(&api.pool)
    .await
    .unwrap();
    let held = Held::new(&api).await;
    let first = tokio::spawn(send(api.webhook(event("first"))));
    held.until_someone_waits().await;
    let bodies: Vec<String> = ["txn_1", "poison", "txn_2"].map(event).into();
    let posting = {
        let requests: Vec<_> = bodies.into_iter().map(|body| api.webhook(body)).collect();
        tokio::spawn(futures(requests))
    };
    for _ in 0..5 {
        api.get("/healthz").await;
    }
    held.release().await;

    let answers = posting.await.unwrap();

    assert_eq!(first.await.unwrap().status, 202);
    assert_eq!(answers.iter().map(|it| it.status).collect::<Vec<_>>(), [202, 500, 202]);
    assert_eq!(answers[1].code(), "internal-error");
    assert!(!answers[1].text.contains("exception"), "{}", answers[1].text);
    assert_eq!(api.rows().await, (3, 3, 0));
}

#[tokio::test]
async fn a_client_that_disconnects_does_not_cancel_its_commit() {
    let mut api = TestApi::start().await;
    let held = Held::new(&api).await;
    let mut client = api.connect().await;
    client.write_all(&raw_post(&event("txn_1"))).await.unwrap();
    held.until_someone_waits().await;

    drop(client);
    // The server has noticed once it accepts and serves others after it. Whether the client has
    // gone or has only said all that it had to say, nobody can tell before the answer is sent.
    api.get("/healthz").await;
    held.release().await;

    api.stop().await;
    assert_eq!(api.rows().await, (1, 1, 0));
}

#[tokio::test]
async fn the_settlement_is_due_after_the_settle_delay() {
    let api = TestApi::start_with(|settings| settings.settle_delay = Duration::from_secs(30)).await;

    api.post(event("txn_1")).await;

    let due_in_secs = api
        .count("select round(extract(epoch from run_at - enqueued_at))::bigint from queue.jobs")
        .await;
    assert_eq!(due_in_secs, 30);
}

#[tokio::test]
async fn with_the_database_away_it_says_so_and_recovers_by_itself() {
    let mut cluster = TestCluster::start().await;
    let pool = migrated(&cluster, "surety").await;
    let mut api = TestApi::start_on(pool, |_| {}).await;
    assert_eq!(api.post(event("before")).await.status, 202);

    cluster.stop_immediate().await;
    for _ in 0..3 {
        let asked = Instant::now();
        let posted = api.post(event("meanwhile")).await;
        let read = api.get("/v1/transactions/before").await;
        for answer in [posted, read] {
            assert_eq!((answer.status, answer.code()), (503, "unavailable".to_owned()));
            assert_eq!(answer.header("retry-after"), "2");
        }
        assert!(asked.elapsed() < Duration::from_secs(10));
    }
    assert_eq!(api.get("/readyz").await.json()["errors"][0]["code"], "away");
    assert_eq!(api.get("/healthz").await.status, 200);

    cluster.start_again().await;
    // Not even the first request after the restart has to be sent again.
    assert_eq!(api.post(event("after")).await.status, 202);
    assert_eq!(api.get("/v1/transactions/before").await.status, 200);
    let summary = api.stop().await;
    assert_eq!((summary.accepted, summary.unavailable), (2, 3));
}

#[tokio::test]
async fn a_database_that_hangs_is_answered_for_within_seconds() {
    let api = TestApi::start().await;
    let held = Held::new(&api).await;

    let asked = Instant::now();
    let answer = api.post(event("txn_1")).await;

    assert_eq!((answer.status, answer.code()), (503, "unavailable".to_owned()));
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    held.release().await;
    assert_eq!(api.post(event("txn_1")).await.status, 202);
    assert_eq!(api.rows().await, (1, 1, 0));
}

#[tokio::test]
async fn several_with_one_id_in_one_call_are_told_apart() {
    let db = TestDb::new().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let batch = [("b", "1"), ("a", "1"), ("b", "1.0"), ("b", "2"), ("a", "1.00"), ("b", "2")]
        .map(|(id, amount)| transaction(id, amount));

    let recorded =
        transactions::record_many(&mut conn, &batch.iter().collect::<Vec<_>>()).await.unwrap();

    let [Recorded::New(b), Recorded::New(a), ..] = recorded[..] else { panic!("{recorded:?}") };
    assert_ne!(a, b);
    let (same, other) = (Recorded::Duplicate, Recorded::Conflict);
    assert_eq!(recorded[2..], [same, other, same, other]);
    let kept: Vec<(String, i64)> =
        sqlx::query_as("select transaction_id, received_count from payments.transaction_conflicts")
            .fetch_all(&mut *conn)
            .await
            .unwrap();
    assert_eq!(kept, [("b".to_owned(), 2)]);
    assert_eq!(stored_amount(&db, b).await, "1.0000");
}

#[tokio::test]
async fn callers_with_overlapping_ids_in_any_order_do_not_deadlock() {
    let db = TestDb::new().await;
    for round in 0..30 {
        let ids: Vec<String> = (0..40).map(|number| format!("{round}-{number}")).collect();
        let forward: Vec<_> = ids.iter().map(|id| transaction(id, "1")).collect();
        let backward: Vec<_> = forward.iter().rev().cloned().collect();

        let (one, other) = tokio::join!(record(&db, forward), record(&db, backward));

        let new = |recorded: &[Recorded]| {
            recorded.iter().filter(|it| matches!(it, Recorded::New(_))).count()
        };
        assert_eq!(new(&one) + new(&other), 40);
    }
}

async fn record(db: &TestDb, batch: Vec<NewTransaction>) -> Vec<Recorded> {
    let mut tx = db.pool.begin().await.unwrap();
    let recorded =
        transactions::record_many(&mut tx, &batch.iter().collect::<Vec<_>>()).await.unwrap();
    tx.commit().await.unwrap();
    recorded
}

async fn stored_amount(db: &TestDb, id: TransactionId) -> String {
    sqlx::query_scalar("select amount::text from payments.transactions where id = $1")
        .bind(id)
        .fetch_one(&db.pool)
        .await
        .unwrap()
}

fn transaction(transaction_id: &str, amount: &str) -> NewTransaction {
    let amount = Amount::parse(amount).unwrap();
    let currency = Currency::parse("USD").unwrap();
    NewTransaction {
        transaction_id: transaction_id.to_owned(),
        source_account: "a".to_owned(),
        destination_account: "b".to_owned(),
        money: Money::new(amount, currency).unwrap(),
        body: Bytes::from(amount.as_decimal().normalize().to_string()),
    }
}

/// Posts all at once; the answers are in the order of the bodies.
async fn all(api: &TestApi, bodies: Vec<String>) -> Vec<Answer> {
    futures(bodies.into_iter().map(|body| api.webhook(body)).collect()).await
}

async fn futures(requests: Vec<reqwest::RequestBuilder>) -> Vec<Answer> {
    let mut sending: Vec<_> = requests.into_iter().map(|it| tokio::spawn(send(it))).collect();
    let mut answers = Vec::new();
    for answer in sending.drain(..) {
        answers.push(answer.await.unwrap());
    }
    answers
}

/// Holds every insert of a transaction until it is released.
struct Held {
    pool: sqlx::PgPool,
    lock: sqlx::Transaction<'static, sqlx::Postgres>,
}

impl Held {
    async fn new(api: &TestApi) -> Self {
        let mut lock = api.pool.begin().await.unwrap();
        sqlx::query("lock table payments.transactions in exclusive mode")
            .execute(&mut *lock)
            .await
            .unwrap();
        Self { pool: api.pool.clone(), lock }
    }

    async fn until_someone_waits(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let waits: bool = sqlx::query_scalar(
                "select exists (select from pg_locks where not granted
                 and database = (select oid from pg_database where datname = current_database()))",
            )
            .fetch_one(&self.pool)
            .await
            .unwrap();
            if waits {
                return;
            }
            assert!(Instant::now() < deadline, "no commit came to the lock");
            tokio::task::yield_now().await;
        }
    }

    async fn release(self) {
        self.lock.rollback().await.unwrap();
    }
}
