//! What anybody with the right to enqueue may write: each is refused where it comes in, by name,
//! and none of it keeps a claim, a list or another job from going on.

use serde_json::json;
use sqlx::PgPool;
use surety_queue::groups::Batch;
use surety_queue::operate::list::list;
use surety_queue::operate::{ArgsMatch, JobFilter};
use surety_queue::{InvalidJob, NewJob, NotStorable, QueueError, Unique, enqueue, enqueue_many};

use super::kinds::{Act, End, count, database, effects, enqueue_job, idle_worker, state_of};

async fn refused_by(pool: &PgPool, statement: &str) -> (String, String) {
    let refused = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(pool).await;
    let Err(refused) = refused else { panic!("this is taken: {statement}") };
    let database = refused.as_database_error().unwrap_or_else(|| panic!("{refused}: {statement}"));
    (database.constraint().unwrap_or("none").to_owned(), database.message().to_owned())
}

#[tokio::test]
async fn what_the_sql_function_may_not_be_given_is_refused_by_name() {
    let db = database().await;
    for (arguments, constraint) in [
        ("'k', run_at => 'infinity'", "moment_is_from_1970_to_2199"),
        ("'k', run_at => '-infinity'", "moment_is_from_1970_to_2199"),
        ("'k', run_at => '294276-01-01'", "moment_is_from_1970_to_2199"),
        ("'k', tags => '{a,NULL}'", "tags_are_plain_words"),
        ("'k', tags => '{NULL}'", "tags_are_plain_words"),
        ("'k', tags => array[e'a\\nb']", "tags_are_plain_words"),
        ("'k', tags => array[e'a\\x1b[2J']", "tags_are_plain_words"),
        ("'k', tags => array[repeat('x', 201)]", "tags_are_plain_words"),
        ("'k', tags => array_fill('x'::text, array[51])", "tags_are_50_at_most"),
        ("'k', tags => '{{a},{b}}'", "tags_are_a_list"),
        ("'k', tags => '[3:4]={a,b}'", "tags_are_a_list"),
        ("e'k\\nx'", "text_has_no_control_characters"),
        ("e'k\\x1b[2J'", "text_has_no_control_characters"),
        ("e'k\\u009b'", "text_has_no_control_characters"),
        ("e'k\\u202e'", "text_has_no_control_characters"),
        ("''", "kind_is_named"),
        ("repeat('k', 101)", "kind_is_named"),
        ("'k', queue => e'q\\r'", "text_has_no_control_characters"),
        ("'k', key => e'q\\t'", "text_has_no_control_characters"),
        ("'k', key => repeat('k', 201)", "key_is_short"),
        ("'k', args_key => e'\\x07'", "text_has_no_control_characters"),
        ("'k', unique_by => '1', unique_while => '{done}'", "states_are_known"),
        ("'k', unique_by => '1', unique_while => '{running,NULL}'", "states_are_known"),
        ("'k', unique_by => '1', unique_for => '-1 second'", "window_is_bounded"),
        ("'k', unique_by => '1', unique_for => '0'", "window_is_bounded"),
        ("'k', unique_by => '1', unique_for => '1000000 years'", "window_is_bounded"),
        ("'k', '[1, 2]'", "args_are_named"),
        ("'k', priority => 0", "priority_is_known"),
        ("'k', priority => 70000", "priority_is_known"),
        ("'k', max_attempts => -1", "attempts_are_bounded"),
        ("'k', max_attempts => 70000", "attempts_are_bounded"),
        ("'k', if_failed => 'shrug'", "dependencies_say_what_if_failed"),
        ("'k', after => '{1,NULL}'", "dependencies_are_not_null"),
        ("'k', after => array[9223372036854775807]", "dependencies_have_no_cycle"),
        ("'k', trace_context => '[]'", "trace_context_is_an_object_of_texts"),
        ("'k', trace_context => '{\"x\": 1e400}'", "trace_context_is_an_object_of_texts"),
        (
            "'k', trace_context => jsonb_build_object('x', repeat('x', 5000))",
            "trace_context_is_an_object_of_texts",
        ),
        ("'k', on_discard => '{\"kind\": \"k\"}'", "follow_up_is_a_job"),
        (
            "'k', on_discard => '{\"kind\": \"k\\u001b\", \"queue\": \"q\", \"priority\": 1,
              \"max_attempts\": 1}'",
            "text_has_no_control_characters",
        ),
    ] {
        let statement = format!("select * from queue.enqueue({arguments})");
        let (named, message) = refused_by(&db.pool, &statement).await;
        assert_eq!(named, constraint, "{arguments}: {message}");
        let own = "value for domain queue.";
        let argument =
            arguments.rsplit_once(" => ").and_then(|(before, _)| before.split(", ").last());
        assert!(
            message.starts_with(own)
                || constraint == "dependencies_have_no_cycle"
                || argument.is_none_or(|name| message.contains(name)),
            "{arguments}: {message}"
        );
    }
    assert_eq!(count(&db.pool, "select count(*) from queue.jobs").await, 0);
    // What lies at the bounds is taken.
    for arguments in [
        "'k', run_at => '2199-12-31 00:00Z'",
        "'k', run_at => '1970-01-01 00:00Z'",
        "'k', run_at => null, tags => null, unique_while => null, trace_context => null",
        "'k', tags => '{\"\"}'",
        "'k', tags => '{\"\",a,\"\"}'",
        "'k', tags => '{}'",
        "'k', tags => array_fill(repeat('x', 200), array[50])",
        "'k', 'null'",
        "'k ✉ é', key => repeat('é', 200)",
        "'k', unique_by => '1', unique_for => '100 years', unique_while => '{running,completed}'",
    ] {
        let statement = format!("select * from queue.enqueue({arguments})");
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&db.pool).await.unwrap();
    }
}

#[tokio::test]
async fn what_an_insert_may_not_bring_is_refused_by_name() {
    let db = database().await;
    for (columns, values, constraint) in [
        ("kind", "e'k\\x1b'", "text_has_no_control_characters"),
        ("kind, queue", "'k', e'q\\n'", "text_has_no_control_characters"),
        ("kind, run_at", "'k', 'infinity'", "moment_is_from_1970_to_2199"),
        ("kind, run_at", "'k', '-infinity'", "moment_is_from_1970_to_2199"),
        ("kind, run_at", "'k', '1969-12-31'", "moment_is_from_1970_to_2199"),
        ("kind, enqueued_at", "'k', 'infinity'", "moment_is_from_1970_to_2199"),
        ("kind, tags", "'k', '{NULL}'", "tags_are_plain_words"),
        ("kind, args", "'k', '[1]'", "args_are_named"),
        ("kind, priority", "'k', 9", "priority_is_known"),
        ("kind, trace_context", "'k', '\"x\"'", "trace_context_is_an_object_of_texts"),
    ] {
        let statement = format!("insert into queue.jobs ({columns}) values ({values})");
        let (named, message) = refused_by(&db.pool, &statement).await;
        assert_eq!(named, constraint, "{columns}: {message}");
    }
    for (stored, constraint) in [
        ("\"kind\": \"k\", \"args\": [1]", "args_are_named"),
        ("\"kind\": \"k\", \"args\": {}, \"run_at\": \"infinity\"", "moment_is_from_1970_to_2199"),
        ("\"kind\": \"k\\u001b\", \"args\": {}", "text_has_no_control_characters"),
    ] {
        let statement = format!(
            "insert into queue.batches (on_done) values ('{{\"queue\": \"q\", \"priority\": 1,
             \"max_attempts\": 1, \"delay_secs\": 0, {stored}}}')"
        );
        let (named, message) = refused_by(&db.pool, &statement).await;
        assert_eq!(named, constraint, "{stored}: {message}");
    }
}

#[tokio::test]
async fn a_callback_with_hostile_words_is_refused_with_its_batch() {
    let db = database().await;
    let mut conn = db.pool.acquire().await.unwrap();
    for callback in [
        NewJob::raw("k", json!({})).tag("\u{1b}[2J"),
        NewJob::raw("k", json!([])),
        NewJob::raw("k", json!({})).delay(std::time::Duration::MAX),
    ] {
        let batch = Batch::new().on_failed(callback.clone()).enqueue(&mut conn, Vec::new()).await;
        assert!(batch.is_err(), "{callback:?}");
        assert!(enqueue(&mut conn, callback).await.is_err());
    }
    assert_eq!(count(&db.pool, "select count(*) from queue.batches").await, 0);
}

#[tokio::test]
async fn a_handler_that_asks_to_wait_for_ever_waits_for_years() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Act::new("a", End::SnoozeForEver)).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(state_of(&db.pool, id).await, "scheduled");
    let due = "select count(*) from queue.jobs where run_at > now() + interval '9 years'";
    assert_eq!(count(&db.pool, due).await, 1);
}

#[tokio::test]
async fn whatever_is_taken_can_be_claimed_and_listed() {
    let db = database().await;
    let deep = format!("{{\"a\": {}1{}}}", "{\"a\":".repeat(500), "}".repeat(500));
    for (args, others) in [
        ("{\"name\": 1e400}", ""),
        (deep.as_str(), ""),
        ("null", ""),
        ("\"text\"", ""),
        ("{}", ", run_at => '1970-01-01 00:00Z', tags => '{\"\",x}'"),
        ("{}", ", trace_context => '{\"traceparent\": \"x\"}'"),
    ] {
        let statement = format!("select * from queue.enqueue('act', $1::jsonb{others})");
        sqlx::query(sqlx::AssertSqlSafe(statement)).bind(args).execute(&db.pool).await.unwrap();
    }
    sqlx::query("update queue.jobs set checkpoint = '{\"at\": 1e400}'")
        .execute(&db.pool)
        .await
        .unwrap();
    enqueue_job(&db.pool, &Act::new("good", End::Complete)).await;
    let summary = idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(summary.completed, 1);
    assert_eq!(effects(&db.pool).await, ["good"]);
    assert_eq!(summary.failed, 60, "all attempts of each");
    let mut conn = db.pool.acquire().await.unwrap();
    let page = list(&mut conn, &JobFilter::default(), None, 100).await.unwrap();
    assert_eq!(page.jobs.len(), 7);
}

#[tokio::test]
async fn what_cannot_be_stored_is_refused_and_the_transaction_goes_on() {
    let db = database().await;
    let job = || NewJob::raw("k", json!({}));
    let unique = Unique::by_value(json!("\0"));
    let forever = Unique::by_args().lasting(std::time::Duration::MAX);
    let beyond = time::macros::datetime!(9999-12-31 23:59:59 -10);
    let mut tx = db.pool.begin().await.unwrap();
    for (bad, problem) in [
        (NewJob::raw("k".repeat(300), json!({})), InvalidJob::Kind),
        (NewJob::raw("", json!({})), InvalidJob::Kind),
        (NewJob::raw("k\0", json!({})), InvalidJob::Kind),
        (job().queue("q\u{202e}"), InvalidJob::Queue),
        (job().key("é".repeat(201)), InvalidJob::Key),
        (job().tag("a\nb"), InvalidJob::Tags),
        ((0..51).fold(job(), |job, n| job.tag(n.to_string())), InvalidJob::Tags),
        (job().priority(5), InvalidJob::Priority),
        (job().max_attempts(0), InvalidJob::MaxAttempts),
        (job().run_at(beyond), InvalidJob::Due),
        (job().delay(std::time::Duration::from_secs(3_000_000 * 86_400)), InvalidJob::Due),
        (job().unique(forever), InvalidJob::UniqueWindow),
        (job().unique(unique), InvalidJob::Args(NotStorable::Nul)),
        (NewJob::raw("k", json!([1])), InvalidJob::List),
        (NewJob::raw("k", json!({ "a": "\0" })), InvalidJob::Args(NotStorable::Nul)),
    ] {
        let refused = enqueue_many(&mut tx, &[job(), bad.clone()]).await;
        let Err(QueueError::InvalidJob(told)) = &refused else { panic!("{bad:?}: {refused:?}") };
        assert_eq!(*told, problem, "{bad:?}");
    }
    enqueue(&mut tx, job().run_at(time::macros::datetime!(-9999-01-01 0:00 +10))).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(count(&db.pool, "select count(*) from queue.jobs").await, 1);
}

#[tokio::test]
async fn a_filter_that_nothing_can_match_finds_nothing() {
    let db = database().await;
    let mut conn = db.pool.acquire().await.unwrap();
    enqueue(&mut conn, NewJob::raw("k", json!({ "a": 1 }))).await.unwrap();
    let all = JobFilter::default;
    let wanted = |value: &str| vec![ArgsMatch::new("a", value)];
    for filter in [
        JobFilter { kinds: vec!["k\0".to_owned()], ..all() },
        JobFilter { error: Some("\0".to_owned()), ..all() },
        JobFilter { args: wanted("\"\\u0000\""), ..all() },
        JobFilter { args: wanted("1e999999"), ..all() },
        JobFilter { since: Some(time::macros::datetime!(9999-12-31 23:59:59 -10)), ..all() },
        JobFilter { until: Some(time::macros::datetime!(-9999-01-01 0:00 +10)), ..all() },
    ] {
        let page = list(&mut conn, &filter, None, 10).await.unwrap();
        assert!(page.jobs.is_empty(), "{filter:?}");
    }
    for filter in [
        JobFilter { until: Some(time::macros::datetime!(9999-12-31 23:59:59 -10)), ..all() },
        JobFilter { since: Some(time::macros::datetime!(-9999-01-01 0:00 +10)), ..all() },
    ] {
        let page = list(&mut conn, &filter, None, 10).await.unwrap();
        assert_eq!(page.jobs.len(), 1, "{filter:?}");
    }
}
