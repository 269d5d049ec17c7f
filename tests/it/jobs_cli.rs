//! `app jobs`, by the real binary.

use std::process::ExitStatus;

use serde_json::{Value, json};
use sqlx::PgPool;
use surety::queue::operate::cancel;
use surety::queue::{JobId, NewJob, enqueue};

use crate::support::money::discarded_job;
use crate::support::{App, Binary as _, TestDb};

/// Runs `app jobs` on a database: the exit code, and what it said.
async fn jobs(db: &TestDb, args: &[&str]) -> (Option<i32>, String) {
    jobs_with(db, args, "").await
}

async fn jobs_with(db: &TestDb, args: &[&str], stdin: &str) -> (Option<i32>, String) {
    let command = App::command([&["jobs"], args].concat());
    let (status, output): (ExitStatus, String) =
        command.env("DATABASE_URL", &db.url).env("USER", "ada").stdin(stdin).run().await;
    (status.code(), output)
}

/// What it printed as JSON, having done what was asked for.
async fn json_of(db: &TestDb, args: &[&str]) -> Value {
    let (code, output) = jobs(db, &[args, &["-o", "json"]].concat()).await;
    assert_eq!(code, Some(0), "{args:?}: {output}");
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

async fn add(pool: &PgPool, job: NewJob) -> JobId {
    enqueue(&mut pool.acquire().await.unwrap(), job).await.unwrap().id()
}

fn mail(to: &str) -> NewJob {
    NewJob::raw("send_mail", json!({ "to": to }))
}

fn later(to: &str) -> NewJob {
    mail(to).delay(std::time::Duration::from_secs(3600))
}

async fn discarded(pool: &PgPool, number: i64) -> Vec<JobId> {
    let mut ids = Vec::new();
    for _ in 0..number {
        ids.push(discarded_job(pool).await);
    }
    ids
}

/// States of all jobs, by number.
async fn states(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar("select state from queue.all_jobs order by id")
        .fetch_all(pool)
        .await
        .unwrap()
}

async fn interventions(pool: &PgPool) -> Vec<(String, String, String)> {
    sqlx::query_as("select action, made_by, reason from queue.interventions order by id")
        .fetch_all(pool)
        .await
        .unwrap()
}

fn by_ada(action: &str) -> (String, String, String) {
    (action.into(), "cli:ada".into(), "case 1".into())
}

#[tokio::test]
async fn lists_are_tables_json_lines_or_numbers_to_pipe_on() {
    let db = TestDb::new().await;
    let first = add(&db.pool, mail("ada").tag("vip")).await;
    let second = add(&db.pool, later("bob")).await;
    let failed = discarded_job(&db.pool).await;

    let (code, output) = jobs(&db, &["list"]).await;
    assert_eq!(code, Some(0), "{output}");
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines[0].starts_with("JOB") && lines[0].contains("STATE"), "{output}");
    assert!(lines[1].starts_with(&failed.to_string()) && lines[1].contains("given up"), "{output}");
    assert!(lines[2].contains("scheduled") && lines[3].contains("available"), "{output}");

    let (_, output) = jobs(&db, &["list", "-o", "id", "--kind", "send_mail"]).await;
    assert_eq!(output, format!("{second}\n{first}"));
    let listed = json_of(&db, &["list", "--where", "to=ada", "--tag", "vip"]).await;
    assert_eq!(listed[0]["id"], json!(first));
    assert_eq!(listed[0]["args"], json!({ "to": "ada" }));
    assert_eq!(json_of(&db, &["list", "--since", "1h", "--until", "1m"]).await, json!([]));
    let (_, output) = jobs(&db, &["list", "-o", "jsonl", "--state", "discarded,retryable"]).await;
    let line: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(line["error"], json!("given up"));

    let (_, output) = jobs(&db, &["list", "--limit", "2"]).await;
    assert!(output.contains(&format!("--before {second}")), "{output}");
    let (_, output) = jobs(&db, &["list", "-o", "id", "--before", &second.to_string()]).await;
    assert_eq!(output, first.to_string());
    let ids = format!("{second} {failed}\n");
    let (_, output) = jobs_with(&db, &["list", "-o", "id", "--id-file", "-"], &ids).await;
    assert_eq!(output, format!("{failed}\n{second}"));
}

#[tokio::test]
async fn show_answers_first_why_the_job_has_not_run() {
    let db = TestDb::new().await;
    let id = add(&db.pool, later("ada").key("acme").tag("vip")).await.to_string();
    let (code, output) = jobs(&db, &["show", &id]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.starts_with("It is scheduled for 20"), "{output}");
    for part in
        ["kind:        send_mail", "key:         acme", "tags:        vip", "\"to\":\"ada\""]
    {
        assert!(output.contains(part), "{part}: {output}");
    }
    let (_, _) = jobs(&db, &["retry", &id, "--reason", "case 1"]).await;
    let shown = json_of(&db, &["show", &id]).await;
    assert_eq!(shown["causes"][0]["cause"], json!("no_worker"));
    sqlx::query(
        "insert into queue.workers (id, host, pid, version, queues, kinds, slots, lease)
         values (gen_random_uuid(), 'h', 1, 'v', '{default}', '{send_mail}', 1, interval '1 h')",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let shown = json_of(&db, &["show", &id]).await;
    assert_eq!(shown["causes"][0]["cause"], json!("due"));
    assert_eq!(shown["interventions"][0]["reason"], json!("case 1"));
    assert!(shown["explanation"].as_str().unwrap().contains("nothing keeps it"), "{shown}");
    let (_, output) = jobs(&db, &["show", &id]).await;
    assert!(output.contains("retry") && output.contains("cli:ada"), "{output}");

    let failed = discarded_job(&db.pool).await.to_string();
    let (_, output) = jobs(&db, &["show", &failed]).await;
    assert!(output.starts_with("It was discarded at 20"), "{output}");
    assert!(output.contains("OUTCOME") && output.contains("given up"), "{output}");
}

#[tokio::test]
async fn what_makes_no_sense_or_is_not_there_has_an_exit_code_of_its_own() {
    let db = TestDb::new().await;
    let done = add(&db.pool, mail("ada")).await;
    cancel(&mut db.pool.acquire().await.unwrap(), done, "ada", "why").await.unwrap();
    let done = done.to_string();
    let waits = add(&db.pool, mail("ada")).await.to_string();
    let why = ["--reason", "why"];
    for (args, expected) in [
        (&["show", "4711"][..], 3),
        (&["retry", "4711", "--reason", "why"], 3),
        (&["edit", "4711", "--set", "a=1", "--reason", "why"], 3),
        (&["wait", "4711"], 3),
        (&["retry", &done, "--reason", "why"], 5),
        (&["cancel", &done, "--reason", "why"], 5),
        (&["discard", &done, "--reason", "why"], 5),
        (&["edit", &done, "--args", "{}", "--reason", "why"], 5),
        (&["wait", &done], 1),
        (&["wait", &waits, "--timeout", "10ms"], 6),
        (&["retry", &waits], 2),
        (&["retry", "--reason", "why"], 2),
        (&["retry", &waits, "--kind", "a", "--reason", "why"], 2),
        (&["retry", "--kind", "send_mail", "--reason", "why"], 2),
        (&["retry", "--all-matching", "--yes", "--reason", "why"], 2),
        (&["cancel", "--all-matching", "--dry-run", "--reason", "why"], 2),
        (&["discard", "--all-matching", "--all", "--kind", "x", "--reason", "why"], 2),
        (&["retry", "--all-matching", "--state", "completed", "--reason", "why"], 2),
        (&["cancel", &waits, &done, "--reason", "why"], 2),
        (&["list", "--state", "asleep"], 2),
        (&["list", "--since", "yesterday"], 2),
        (&["edit", &waits, "--reason", "why"], 2),
        (&["enqueue", "send_mail", "{"], 2),
        (&["enqueue", "send_mail", "{}"], 2),
        (&["enqueue", "execute_transfer", "{}"], 2),
        (&["enqueue", "resolve_bank_order", "{}"], 2),
        (&["wait"], 2),
    ] {
        let (code, output) = jobs(&db, args).await;
        assert_eq!(code, Some(expected), "{args:?}: {output}");
        assert!(!output.contains("panicked"), "{args:?}: {output}");
    }
    let (_, output) = jobs(&db, &[&["cancel", &waits, &done][..], &why].concat()).await;
    assert!(output.contains("fix:") && output.contains("--yes"), "{output}");
    assert_eq!(states(&db.pool).await, ["cancelled", "available"], "nothing was changed");
}

#[tokio::test]
async fn single_jobs_are_retried_cancelled_and_discarded_with_who_and_why() {
    let db = TestDb::new().await;
    let scheduled = add(&db.pool, later("ada")).await.to_string();
    let unwanted = add(&db.pool, later("bob")).await.to_string();
    let wrong = add(&db.pool, later("eve")).await.to_string();
    let why = ["--reason", "case 1"];

    let dry = [&["retry", &scheduled, "--dry-run"][..], &why].concat();
    let (code, output) = jobs(&db, &dry).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("nothing was changed"), "{output}");
    assert_eq!(states(&db.pool).await, ["scheduled"; 3]);
    assert!(interventions(&db.pool).await.is_empty());

    for (verb, id, said) in [
        ("retry", &scheduled, "is due now"),
        ("cancel", &unwanted, "is cancelled"),
        ("discard", &wrong, "is discarded"),
    ] {
        let (code, output) = jobs(&db, &[&[verb, id][..], &why].concat()).await;
        assert_eq!(code, Some(0), "{output}");
        assert!(output.contains(&format!("job {id}: {said}")), "{output}");
    }
    assert_eq!(states(&db.pool).await, ["available", "cancelled", "discarded"]);
    assert_eq!(
        interventions(&db.pool).await,
        [by_ada("retry"), by_ada("cancel"), by_ada("discard")]
    );

    let edit = ["edit", &wrong, "--set", "to=42", "--set", "name=Eve", "--by", "grace"];
    let (code, output) = jobs(&db, &[&edit[..], &why].concat()).await;
    assert_eq!(code, Some(0), "{output}");
    let shown = json_of(&db, &["show", &wrong]).await;
    assert_eq!(shown["args"], json!({ "to": 42, "name": "Eve" }));
    let edited = &shown["interventions"][1];
    assert_eq!(edited["detail"]["old"], json!({ "to": "eve" }));
    assert_eq!(edited["made_by"], json!("cli:grace"));
    let (_, output) = jobs(&db, &[&["retry", &wrong, "-o", "id"][..], &why].concat()).await;
    assert_eq!(output, wrong);
    assert_eq!(states(&db.pool).await[2], "available");
}

#[tokio::test]
async fn all_that_match_are_counted_shown_and_only_then_retried() {
    let db = TestDb::new().await;
    discarded(&db.pool, 230).await;
    let other = add(&db.pool, later("ada")).await;
    let retry = ["retry", "--all-matching", "--error", "GIVEN", "--reason", "case 1"];

    let (code, output) = jobs(&db, &[&retry[..], &["--dry-run"]].concat()).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("would retry 230 jobs, such as"), "{output}");
    let dry = json_of(&db, &[&retry[..], &["--dry-run"]].concat()).await;
    assert_eq!((&dry["matching"], &dry["is_more"]), (&json!(230), &json!(false)));
    assert_eq!(dry["sample"].as_array().unwrap().len(), 5);
    let (code, output) = jobs(&db, &retry).await;
    assert_eq!(code, Some(2), "nobody consents: {output}");
    assert!(states(&db.pool).await[..230].iter().all(|state| state == "discarded"));

    let some = [&retry[..], &["--yes", "--limit", "30", "-o", "id"]].concat();
    let (code, output) = jobs(&db, &some).await;
    assert_eq!((code, output.lines().count()), (Some(0), 30), "{output}");
    // The same again goes on with the rest, and then finds nothing.
    let (code, output) = jobs(&db, &[&retry[..], &["--yes"]].concat()).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("200 redriven"), "{output}");
    let (code, output) = jobs(&db, &[&retry[..], &["--yes"]].concat()).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("no job matches"), "{output}");
    let redriven: i64 = sqlx::query_scalar("select count(*) from queue.resolutions")
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert_eq!(redriven, 230);
    assert_eq!(json_of(&db, &["show", &other.to_string()]).await["state"], json!("scheduled"));
}

#[tokio::test]
async fn a_rate_is_kept() {
    let db = TestDb::new().await;
    discarded(&db.pool, 30).await;
    let begun = std::time::Instant::now();
    let retry =
        ["retry", "--all-matching", "--all", "--rate", "20/s", "--yes", "--reason", "case 1"];
    let (code, output) = jobs(&db, &retry).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("30 redriven"), "{output}");
    assert!(begun.elapsed().as_secs_f64() > 1.2, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_redrive_that_is_killed_is_gone_on_with_by_the_same_command() {
    let db = TestDb::new().await;
    discarded(&db.pool, 60).await;
    let retry =
        ["jobs", "retry", "--all-matching", "--all", "--rate", "40/s", "--yes", "--reason", "why"];
    let mut app = App::command(retry).env("DATABASE_URL", &db.url).spawn();
    app.wait_for_line("runs again").await;
    app.kill().await;
    let left = states(&db.pool).await.iter().filter(|state| *state == "discarded").count();
    assert!(left > 0 && left < 60, "{left}");
    let (code, output) =
        jobs(&db, &["retry", "--all-matching", "--all", "--yes", "--reason", "case 1"]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains(&format!("{left} redriven")), "{output}");
}

#[tokio::test]
async fn enqueue_knows_its_kinds_and_finds_the_job_that_is_there() {
    let db = TestDb::new().await;
    let order = json!({ "order": uuid::Uuid::now_v7() }).to_string();
    let known = json_of(&db, &["enqueue", "execute_bank_order", &order]).await;
    assert_eq!(known["is_new"], json!(true));
    let shown = json_of(&db, &["show", &known["id"].to_string()]).await;
    assert_eq!((&shown["queue"], &shown["max_attempts"]), (&json!("bank"), &json!(4)));
    let follow_up: Option<String> =
        sqlx::query_scalar("select on_discard ->> 'kind' from queue.jobs")
            .fetch_one(&db.pool)
            .await
            .unwrap();
    assert_eq!(follow_up.as_deref(), Some("resolve_bank_order"));

    let flags = ["--queue", "mails", "--priority", "3", "--delay", "10m", "--key", "acme"];
    let more = ["--tag", "a,b", "--max-attempts", "7", "--allow-unknown-kind"];
    let unknown = [&["enqueue", "send_mail", "-", "-o", "id"][..], &flags, &more].concat();
    let (code, id) = jobs_with(&db, &unknown, r#"{"to": "ada"}"#).await;
    assert_eq!(code, Some(0), "{id}");
    let shown = json_of(&db, &["show", &id]).await;
    for (field, value) in [
        ("queue", json!("mails")),
        ("priority", json!(3)),
        ("key", json!("acme")),
        ("tags", json!(["a", "b"])),
        ("max_attempts", json!(7)),
        ("state", json!("scheduled")),
        ("args", json!({ "to": "ada" })),
    ] {
        assert_eq!(shown[field], value, "{field}");
    }

    // What its own program has declared counts for a kind of another program.
    sqlx::query(
        "insert into queue.kinds (kind, queue, priority, max_attempts, sealed) values
           ('draw', 'charts', 4, 9, false), ('hide', 'charts', 4, 9, true)",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let declared = ["enqueue", "draw", "{}", "--allow-unknown-kind", "-o", "id"];
    let (_, id) = jobs(&db, &declared).await;
    let shown = json_of(&db, &["show", &id]).await;
    for (field, value) in [("queue", json!("charts")), ("priority", json!(4))] {
        assert_eq!(shown[field], value, "{field}");
    }
    assert_eq!(shown["max_attempts"], json!(9));
    let (code, said) = jobs(&db, &["enqueue", "hide", "{}", "--allow-unknown-kind"]).await;
    assert!(code == Some(2) && said.contains("sealed"), "{code:?}: {said}");

    let unique = ["enqueue", "sync", r#"{"a": 1, "b": 2}"#, "--allow-unknown-kind"];
    let by = ["--unique-by", "a", "--unique-for", "1h"];
    let first = json_of(&db, &[&unique[..], &by].concat()).await;
    let second = json_of(&db, &[&unique[..], &by].concat()).await;
    assert_eq!((&second["id"], &second["is_new"]), (&first["id"], &json!(false)));
    let (code, output) = jobs(&db, &[&unique[..], &by].concat()).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("does that already"), "{output}");
}

#[tokio::test]
async fn what_a_kind_redacts_is_shown_nowhere() {
    let db = TestDb::new().await;
    sqlx::query(
        "insert into queue.kinds (kind, redacted, queue, priority, max_attempts)
         values ('send_mail', '{to}', 'default', 2, 10)",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let id = add(&db.pool, later("ada")).await.to_string();
    let (_, output) = jobs(&db, &["edit", &id, "--set", "to=bob", "--reason", "case 1"]).await;
    assert!(output.contains("has other arguments"), "{output}");
    let dry = ["retry", "--all-matching", "--state", "scheduled", "--dry-run", "--reason", "why"];
    for args in [&["list", "-o", "json"][..], &["show", &id], &["show", &id, "-o", "json"], &dry] {
        let (code, output) = jobs(&db, args).await;
        assert_eq!(code, Some(0), "{output}");
        assert!(output.contains("[redacted]"), "{args:?}: {output}");
        assert!(!output.contains("\"ada") && !output.contains("bob"), "{args:?}: {output}");
    }
}

#[tokio::test]
async fn jobs_that_money_waits_for_are_neither_cancelled_nor_edited() {
    let db = TestDb::new().await;
    let order = json!({ "order": uuid::Uuid::now_v7() });
    let id = add(&db.pool, NewJob::raw("execute_transfer", order)).await.to_string();
    for args in [
        &["cancel", &id, "--reason", "why"][..],
        &["edit", &id, "--set", "order=1", "--reason", "why"],
    ] {
        let (code, output) = jobs(&db, args).await;
        assert_eq!(code, Some(5), "{output}");
    }
    let (_, output) = jobs(&db, &["cancel", &id, "--reason", "why"]).await;
    assert!(output.contains(&format!("app dead-letters write-off {id}")), "{output}");
    assert_eq!(states(&db.pool).await, ["available"]);
}

#[tokio::test]
async fn nothing_that_a_terminal_would_act_on_is_printed_from_data() {
    let db = TestDb::new().await;
    let evil = "\u{1b}[2J\u{9b}5m\r\u{7f}\u{202e}\u{8}";
    let waiting = add(&db.pool, NewJob::raw("send_mail", json!({ "to": evil }))).await;
    let discarded = discarded(&db.pool, 1).await[0];
    for statement in [
        "update queue.attempts set error = $1",
        "update queue.jobs set progress = 1, progress_text = $1, wait_reason = $1",
        "insert into queue.interventions (job_id, action, made_by, reason)
         select id, $1, $1, $1 from queue.all_jobs",
        "insert into queue.pauses (queue, paused_by, reason) values ($1, $1, $1)",
        "insert into queue.workers (id, host, pid, version, queues, kinds, slots, lease)
         values (gen_random_uuid(), $1, 1, $1, array[$1], array[$1], 1, '1 minute')",
    ] {
        sqlx::query(statement).bind(evil).execute(&db.pool).await.unwrap();
    }
    let (waiting, discarded) = (waiting.to_string(), discarded.to_string());
    let mut seen = 0;
    for command in [
        &["jobs", "list"][..],
        &["jobs", "show", &waiting],
        &["jobs", "show", &discarded],
        &["jobs", "cancel", &waiting, "--dry-run", "--reason", evil],
        &["dead-letters", "list"],
        &["dead-letters", "show", &discarded],
        &["queues", "list"],
        &["queues", "show", evil],
        &["workers", "list"],
        &["schedules", "show", evil],
        &["doctor"],
        &["verify"],
    ] {
        for output in [&[][..], &["-o", "json"], &["-o", "jsonl"]] {
            let args = [command, output].concat();
            let app = App::command(&args).env("DATABASE_URL", &db.url).env("USER", "ada");
            let (_, output) = app.run().await;
            let acted_on: Vec<char> = output
                .chars()
                .filter(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}')
                .collect();
            assert!(acted_on.is_empty(), "{args:?}: {acted_on:?} in {output:?}");
            seen += usize::from(output.contains("u009b"));
        }
    }
    assert!(seen >= 15, "it was printed {seen} times");
}

#[tokio::test]
async fn numbers_keep_their_digits_and_no_field_is_there_twice() {
    let db = TestDb::new().await;
    let exact = r#"{"a": 12345678901234567890.12, "b": 1.10}"#;
    let (code, said) =
        jobs(&db, &["enqueue", "k", exact, "--allow-unknown-kind", "-o", "id"]).await;
    assert_eq!(code, Some(0), "{said}");
    let id = said.trim();
    let (code, said) = jobs(&db, &["edit", id, "--set", "x=2.50", "--reason", "r"]).await;
    assert_eq!(code, Some(0), "{said}");
    let stored = r#"{"a": 12345678901234567890.12, "b": 1.10, "x": 2.50}"#;
    let now = &stored.replace(' ', "");
    for shown in [
        &["show", id][..],
        &["show", id, "-o", "json"],
        &["list", "-o", "json"],
        &["list", "-o", "jsonl"],
        &["list", "-o", "jsonl", "--where", "a=12345678901234567890.12"],
        &["cancel", "--kind", "k", "--all-matching", "--dry-run", "--reason", "r", "-o", "json"],
    ] {
        let (code, said) = jobs(&db, shown).await;
        assert!(code == Some(0) && said.contains(now.as_str()), "{shown:?}: {said}");
    }
    let (_, said) = jobs(&db, &["list", "-o", "id", "--where", "a=12345678901234567890.13"]).await;
    assert!(!said.lines().any(|line| line == id), "{said}");

    for twice in [
        &["enqueue", "k", r#"{"a":1,"a":2}"#, "--allow-unknown-kind"][..],
        &["edit", id, "--args", r#"{"o":{"a":1,"a":2}}"#],
        &["edit", id, "--set", r#"o={"a":1,"a":2}"#],
        &["edit", id, "--set", "o=1", "--set", "o=2", "--reason", "r"],
    ] {
        let (code, said) = jobs(&db, twice).await;
        assert!(code == Some(2) && said.contains("twice"), "{twice:?}: {said}");
    }
    let (_, said) = jobs(&db, &["show", id, "-o", "json"]).await;
    assert!(said.contains(now.as_str()), "{said}");

    let schedule = ["schedules", "add", "s", "--every", "1h", "--kind", "k", "--args", exact];
    let (status, said) = App::command(schedule).env("DATABASE_URL", &db.url).run().await;
    assert_eq!(status.code(), Some(0), "{said}");
    for shown in [&["schedules", "show", "s"][..], &["schedules", "list", "-o", "json"]] {
        let (_, said) = App::command(shown).env("DATABASE_URL", &db.url).run().await;
        assert!(said.contains(&exact.replace(' ', "")), "{said}");
    }
    let run = App::command(["schedules", "run", "s"]).env("DATABASE_URL", &db.url).run().await;
    let kept: Vec<String> =
        sqlx::query_scalar("select args::text from queue.jobs where kind = 'k' order by id")
            .fetch_all(&db.pool)
            .await
            .unwrap();
    assert_eq!(kept, [stored, exact], "{run:?}");
}
