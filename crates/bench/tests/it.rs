//! `surety-bench`: each form, tiny. How fast anything is, an unoptimised binary on a busy machine
//! cannot tell; what is reported, and that every job is accounted for, it can.

// A test that unwraps wrongly fails, which is what it is for.
#![allow(clippy::unwrap_used)]

use serde_json::Value;

use surety_postgres::testing::{Process, ProcessCommand, TestDatabase};

/// A lease that runs out within the test.
const SHORT: &str = "1500ms";

/// The binary with these arguments.
fn bench_command(args: &[&str]) -> ProcessCommand {
    Process::command_of(env!("CARGO_BIN_EXE_surety-bench"), args)
}

/// Runs the benchmark on the tests' server; settings and results of its one round.
async fn bench(args: &[&str]) -> (Value, Vec<Value>) {
    let db = TestDatabase::empty().await;
    let command = bench_command(&[args, &["--rounds", "1", "--json"]].concat());
    let (status, output) = command.env("DATABASE_URL", &db.url).run().await;
    assert!(status.success(), "{args:?}: {output}");
    parse(&output)
}

/// The same on a cluster of its own.
async fn bench_on_private_cluster(args: &[&str]) -> Vec<Value> {
    let command = bench_command(&[args, &["--rounds", "1", "--json"]].concat());
    let mut app = command.spawn();
    // Step by step: on a busy machine all together take longer than a test waits for one thing.
    app.wait_for_line("round 1 of 1").await;
    app.wait_for_line("\"results\"").await;
    let status = app.wait_for_exit().await;
    assert!(status.success(), "{args:?}: {}", app.output());
    parse(&app.output()).1
}

/// Whether this PostgreSQL was packaged with the extension that counts statements.
async fn has_statement_counts() -> bool {
    let db = TestDatabase::empty().await;
    let available = "select exists (
        select from pg_available_extensions where name = 'pg_stat_statements')";
    sqlx::query_scalar(available).fetch_one(&db.pool).await.unwrap()
}

/// The JSON among what is said of the progress.
fn parse(output: &str) -> (Value, Vec<Value>) {
    let lines: Vec<&str> = output.lines().collect();
    let first = lines.iter().position(|line| *line == "{").expect(output);
    let last = lines.iter().rposition(|line| *line == "}").expect(output);
    let said: Value = serde_json::from_str(&lines[first..=last].join("\n")).expect(output);
    assert_eq!(said["rounds"], 1);
    assert!(said["configuration"]["postgres"]["fsync"].is_string(), "{said}");
    let results = said["results"].as_array().expect("results are a list").clone();
    (said["settings"].clone(), results)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// What every form that runs jobs says: each job is accounted for, and the counters were read.
fn assert_all_done_once(result: &Value, jobs: u64) {
    let account = &result["account"];
    assert_eq!(account["enqueued"], jobs, "{result}");
    assert_eq!(account["completed"], jobs, "{result}");
    for none in ["lost", "run_twice", "unfinished", "discarded"] {
        assert_eq!(account[none], 0, "{none}: {result}");
    }
    for waits in ["enqueue_to_start", "enqueue_to_done"] {
        let [p50, p95, p99] = ["p50_ms", "p95_ms", "p99_ms"].map(|name| &result[waits][name]);
        let [p50, p95, p99] = [p50, p95, p99].map(|figure| number(&figure["median"]));
        assert!(p50 <= p95 && p95 <= p99, "{waits}: {result}");
    }
    assert!(number(&result["wal_bytes_per_job"]["median"]) > 0.0, "{result}");
    assert!(number(&result["max_dead_tuples"]["median"]) >= 0.0, "{result}");
}

#[tokio::test]
async fn drain_measures_each_way_of_handling() {
    let args = ["drain", "-n", "200", "--batch", "--no-batch", "--commit", "per-job,batch"];
    let (_, results) = bench(&[&args[..], &["--history", "--no-history"]].concat()).await;

    let kinds: Vec<(&str, bool)> = results
        .iter()
        .map(|result| {
            let keeps_history = result["handling"]["keeps_history"].as_bool().unwrap();
            (result["kind"].as_str().unwrap(), keeps_history)
        })
        .collect();
    let expected = ["noop_batch", "noop_per_job", "noop"];
    assert_eq!(kinds, expected.map(|kind| [(kind, true), (kind, false)]).concat());
    for result in &results {
        assert_all_done_once(result, 200);
        assert!(number(&result["drained_per_second"]["median"]) > 0.0, "{result}");
        let witness =
            if result["handling"]["keeps_history"] == true { "history" } else { "handlers" };
        assert_eq!(result["account"]["counted_by"], witness, "{result}");
        assert!(number(&result["buffers_per_claimed_job"]["median"]) > 0.0, "{result}");
    }
    let commits = |kind: &str| {
        let result = results.iter().find(|result| result["kind"] == kind).unwrap();
        number(&result["commits_per_job"]["median"])
    };
    assert!(commits("noop_per_job") >= 1.0 && commits("noop_batch") < 0.5, "{results:?}");
}

#[tokio::test]
async fn drain_knows_its_old_kinds() {
    let kinds = "settle,transfer-spread";
    let (_, results) =
        bench(&["drain", "--jobs", "10", "--settle-jobs", "60", "--kinds", kinds]).await;

    assert_eq!(results.len(), 2);
    for result in &results {
        assert_all_done_once(result, 60);
        assert!(number(&result["enqueued_per_second"]["median"]) > 0.0, "{result}");
    }
}

#[tokio::test]
async fn a_disturbed_run_stands_beside_an_undisturbed_one() {
    let disturbances = ["--hold-xmin", "--readers", "1", "--full-history", "500"];
    let args = [&["drain", "-n", "300", "--batch", "--scheduled", "50"], &disturbances[..]];
    let (_, results) = bench(&args.concat()).await;

    let [undisturbed, disturbed] = results.as_slice() else { panic!("{results:?}") };
    assert_eq!(undisturbed["condition"], "undisturbed");
    assert_eq!(disturbed["condition"], "disturbed");
    let under = disturbed["under"].as_str().unwrap();
    assert_eq!(under, "xmin held, 1 readers, 500 finished and 50 scheduled jobs");
    assert_all_done_once(undisturbed, 300);
    assert_all_done_once(disturbed, 300);
    assert!(undisturbed["ratio_to_undisturbed"].is_null());
    assert!(number(&disturbed["ratio_to_undisturbed"]["median"]) > 0.0, "{disturbed}");
    assert!(disturbed["reads"].as_u64() >= Some(1), "{disturbed}");
}

#[tokio::test]
async fn steady_reaches_its_rate() {
    let (settings, results) = bench(&["steady", "--rate", "100", "--duration", "1s"]).await;

    assert_eq!(settings["rate"], 100);
    assert_all_done_once(&results[0], 100);
    let rate = number(&results[0]["enqueued_per_second"]["median"]);
    assert!(rate > 30.0 && rate < 110.0, "{rate}");
}

#[tokio::test]
async fn latency_is_of_pickup_and_of_claims() {
    // On a cluster of its own, which counts statements.
    let results = bench_on_private_cluster(&["latency", "--samples", "5", "--gap", "5ms"]).await;

    // With those that only warm up.
    assert_all_done_once(&results[0], 25);
    let pickup = number(&results[0]["p50_ms"]["median"]);
    assert!(pickup > 0.0 && pickup < 10_000.0, "{pickup}");
    if !has_statement_counts().await {
        assert_eq!(results[0]["buffers_of"], "all_on_jobs");
        assert!(results[0]["claim"]["p99_ms"].is_null(), "{}", results[0]);
        return;
    }
    let claim = number(&results[0]["claim"]["p99_ms"]["median"]);
    assert!(claim > 0.0 && claim < 10_000.0, "{claim}");
    assert_eq!(results[0]["buffers_of"], "claims");
}

#[tokio::test]
async fn latency_beside_a_past_is_compared_with_that_of_an_empty_table() {
    let past = ["--full-history", "500", "--scheduled", "20"];
    let args = [&["latency", "--samples", "5", "--gap", "5ms", "--no-notify"], &past[..]].concat();
    let (settings, results) = bench(&[&args[..], &["--poll", "50ms"]].concat()).await;

    assert_eq!((&settings["notify"], &settings["poll_ms"]), (&false.into(), &50.into()));
    let [empty, past] = results.as_slice() else { panic!("{results:?}") };
    assert_all_done_once(empty, 25);
    assert_all_done_once(past, 25);
    let ratio = number(&past["pickup_p99_ratio_to_undisturbed"]["median"]);
    assert!(ratio > 0.0, "{past}");
    // This server does not count statements.
    assert_eq!(past["buffers_of"], "all_on_jobs");
    assert!(past["claim"]["p99_ms"].is_null(), "{past}");
}

#[tokio::test]
async fn enqueue_measures_each_form() {
    let (_, results) = bench(&["enqueue", "-n", "2500", "--single-jobs", "50"]).await;

    let forms: Vec<(&str, u64)> = results
        .iter()
        .map(|result| (result["form"].as_str().unwrap(), result["jobs"].as_u64().unwrap()))
        .collect();
    assert_eq!(forms, [("alone", 50), ("single", 50), ("many", 2500)]);
    for result in &results {
        assert!(number(&result["enqueued_per_second"]["median"]) > 0.0, "{result}");
    }
}

/// Handlers have few jobs at a time: on a busy machine many would wait too long for a connection.
fn chaos<'a>(what: &'a str, lease: &'a str, handling: &[&'a str]) -> Vec<&'a str> {
    let settings = ["--chaos", what, "--lease", lease, "--poll", "200ms", "--concurrency", "40"];
    [&["drain", "-n", "600"], handling, &settings[..]].concat()
}

#[tokio::test]
async fn killed_workers_lose_nothing() {
    let (settings, results) = bench(&chaos("worker-kill", SHORT, &["--batch"])).await;

    assert_eq!(settings["where"], "processes");
    let [result] = results.as_slice() else { panic!("{results:?}") };
    assert_all_done_once(result, 600);
    assert_eq!(result["account"]["counted_by"], "effects");
    assert!(result["chaos"]["strikes"].as_u64() >= Some(1), "{result}");
    assert!(result["chaos"]["hit"].as_u64() >= Some(2), "{result}");
    assert_eq!(result["chaos"]["looked_after_secs"], 2.25);
}

#[tokio::test]
async fn frozen_workers_come_back_too_late() {
    let handling = ["--no-batch", "--commit", "per-job", "--no-history"];
    let (_, results) = bench(&chaos("pause", SHORT, &handling)).await;

    assert_all_done_once(&results[0], 600);
    assert_eq!(results[0]["account"]["counted_by"], "effects");
    assert!(results[0]["chaos"]["hit"].as_u64() >= Some(2), "{results:?}");
}

#[tokio::test]
async fn a_steady_flow_goes_on_through_kills() {
    let kills = ["--chaos", "worker-kill", "--chaos-every", "1s", "--lease", SHORT];
    let args = [&["steady", "--rate", "50", "--duration", "3s", "--batch"], &kills[..]].concat();
    let (_, results) = bench(&args).await;

    assert_all_done_once(&results[0], 150);
    assert!(results[0]["chaos"]["strikes"].as_u64() >= Some(1), "{results:?}");
}

#[tokio::test]
async fn cut_connections_lose_nothing() {
    let (_, results) = bench(&chaos("backend-kill", SHORT, &["--no-batch"])).await;

    assert_all_done_once(&results[0], 600);
    assert_eq!(results[0]["account"]["counted_by"], "history");
    assert!(results[0]["chaos"]["strikes"].as_u64() >= Some(1), "{results:?}");
}

#[tokio::test]
async fn a_crash_of_postgresql_loses_nothing() {
    // A worker gives a heartbeat's time to each try to connect again, which with a password takes
    // an unoptimised binary long.
    let results = bench_on_private_cluster(&chaos("pg-restart", "12s", &["--batch"])).await;

    assert_all_done_once(&results[0], 600);
    assert_eq!(results[0]["chaos"]["strikes"], 1);
    assert!(results[0]["commits_per_job"].is_null(), "a crash wipes out the counters");
}

#[tokio::test]
async fn nodes_share_the_work() {
    let (settings, results) =
        bench(&["nodes", "--nodes", "1x1,2x3", "-n", "120", "--connections", "4"]).await;

    assert_eq!(settings["webhooks"], 120);
    let [alone, several] = results.as_slice() else { panic!("{results:?}") };
    assert_eq!((&several["serves"], &several["workers"]), (&2.into(), &3.into()));
    for result in [alone, several] {
        let settled = number(&result["settled_per_second"]["median"]);
        assert!(settled > 0.0 && settled <= number(&result["answered_per_second"]["median"]));
        assert!(number(&result["app_cpu_us"]["median"]) > 0.0, "{result}");
    }
    for share in ["least_share", "greatest_share"] {
        assert_eq!(number(&alone[share]["median"]), 1.0, "{alone}");
    }
    // Nobody did it all.
    assert!(number(&several["greatest_share"]["median"]) < 3.0, "{several}");
    let sessions = |result: &Value| number(&result["most_sessions"]["median"]);
    assert!(sessions(several) > sessions(alone), "{results:?}");
}

#[tokio::test]
async fn growth_looks_at_everything_at_each_step() {
    let args = ["growth", "--to", "0,600", "-n", "300", "--secs", "1", "--looks", "1"];
    let more = ["--finished", "100", "--warm-up", "50"];
    let (_, results) = bench(&[&args[..], &more].concat()).await;

    assert_eq!(results.len(), 2, "{results:?}");
    let [first, second] = [0, 1].map(|step| &results[step]);
    assert_eq!(first["transactions"], 0);
    assert!(second["transactions"].as_u64() >= Some(600), "{second}");
    assert!(second["finished_jobs"].as_u64() >= Some(700), "{second}");
    for step in [first, second] {
        for rate in ["ingested_per_second", "deposits_per_second", "settled_per_second"] {
            assert!(number(&step[rate]["median"]) > 0.0, "{rate}: {step}");
        }
        let reads = step["reads"].as_array().unwrap();
        let paths: Vec<&str> = reads.iter().filter_map(|read| read["path"].as_str()).collect();
        assert!(paths.contains(&"/ui") && paths.contains(&"/v1/jobs"), "{paths:?}");
        let p95s: Vec<f64> = reads.iter().map(|read| number(&read["p95"])).collect();
        assert!(p95s.is_sorted_by(|a, b| a >= b), "slowest first: {p95s:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_measured_is_refused_before_anything_starts() {
    let db = TestDatabase::empty().await;
    for (args, reason) in [
        (&["drain", "--batch", "--commit", "per-job"][..], "--no-batch to measure both"),
        (&["drain", "--batch", "--kinds", "noop"], "cannot be used with"),
        (&["drain", "--kinds", "settle", "--chaos", "pause"], "jobs that do nothing"),
        (&["steady", "--chaos", "pg-restart"], "private cluster only"),
        (&["steady", "--chaos", "pause", "--no-history"], "--history"),
        (&["steady", "--duration", "1us"], "no job comes"),
        (&["growth", "--to", "10,5"], "does not shrink"),
    ] {
        let command = bench_command(args).env("DATABASE_URL", &db.url);
        let (status, output) = command.run().await;
        assert_eq!(status.code(), Some(2), "{args:?}: {output}");
        assert!(output.contains(reason), "{args:?}: {output}");
    }
}
