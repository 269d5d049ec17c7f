//! `app serve` as a process: when it starts, when it refuses to, and how it stops.

use std::net::TcpListener;

use crate::support::{App, AppCommand, Binary as _, Signal, TestDb, WEBHOOKS, event};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";

fn serve(db: &TestDb, args: &[&str]) -> AppCommand {
    App::command([&["serve"], args].concat()).env("DATABASE_URL", &db.url)
}

/// Where the process says that it serves.
async fn address(app: &mut App) -> String {
    let line = app.wait_for_line("serving http://").await;
    let rest = &line[line.find("http://").unwrap()..];
    rest[..rest.find(',').unwrap()].to_owned()
}

#[tokio::test]
async fn it_serves_until_told_to_stop_and_says_what_it_served() {
    let db = TestDb::new().await;
    let mut app = serve(&db, &["--listen", "127.0.0.1:0"]).spawn();
    let url = format!("{}{WEBHOOKS}", address(&mut app).await);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for _ in 0..2 {
        let post = client.post(&url).header("content-type", "application/json");
        assert_eq!(post.body(event("txn_1")).send().await.unwrap().status(), 202);
    }

    app.signal(Signal::Terminate);

    assert_eq!(app.wait_for_exit().await.code(), Some(0));
    assert!(app.output().contains("1 webhooks accepted, 1 duplicates"), "{}", app.output());
}

/// The threads of a process that run its tasks; with those that block, of which a quiet one has a
/// few.
#[cfg(target_os = "linux")]
fn threads_of(app: &App) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", app.pid())).unwrap();
    let names = tasks.flatten().map(|task| std::fs::read_to_string(task.path().join("comm")));
    names.flatten().filter(|name| name.trim_end() == "tokio-rt-worker").count()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn it_runs_on_as_many_threads_as_it_is_told() {
    let db = TestDb::new().await;
    let anywhere = ["--listen", "127.0.0.1:0"];
    let mut one = serve(&db, &[&anywhere[..], &["--threads", "1"]].concat()).spawn();
    let mut many = serve(&db, &anywhere).env("APP_THREADS", "20").spawn();
    for app in [&mut one, &mut many] {
        address(app).await;
    }
    let (few, all) = (threads_of(&one), threads_of(&many));
    assert!((1..20).contains(&few) && all >= 20, "{few}, {all}");

    for wrong in ["0", "1025", "many"] {
        let (status, output) = serve(&db, &["--threads", wrong]).run().await;
        assert_eq!(status.code(), Some(2), "{output}");
    }
}

#[tokio::test]
async fn beyond_loopback_it_wants_a_secret_or_to_be_told_otherwise() {
    let db = TestDb::new().await;
    let open_to_all = ["--listen", "0.0.0.0:0"];

    let (status, output) = serve(&db, &open_to_all).run().await;

    assert_eq!(status.code(), Some(78));
    assert!(
        output.contains("without a webhook secret") && output.contains("--allow-unsigned"),
        "{output}"
    );
    let mut signed = serve(&db, &open_to_all).env("APP_WEBHOOK_SECRETS", SECRET).spawn();
    signed.wait_for_line("signatures required").await;
    let mut told_so = serve(&db, &[&open_to_all[..], &["--allow-unsigned"]].concat()).spawn();
    told_so.wait_for_line("signatures off").await;
}

#[tokio::test]
async fn a_bad_secret_is_refused_and_not_repeated() {
    let db = TestDb::new().await;
    for bad in ["whsec_c2hvcnQtYnV0LXNlY3JldA==", "hunter2-hunter2-hunter2"] {
        let (status, output) = serve(&db, &[]).env("APP_WEBHOOK_SECRETS", bad).run().await;
        assert_eq!(status.code(), Some(78));
        assert!(output.contains("a webhook secret"), "{output}");
        assert!(!output.contains(bad) && !output.contains("c2hvcnQ"), "{output}");
    }
}

#[tokio::test]
async fn an_outdated_schema_is_refused_with_the_command_that_mends_it() {
    let db = TestDb::without_schema().await;
    let listen = ["--listen", "127.0.0.1:0"];

    let (status, output) = serve(&db, &listen).run().await;

    assert_eq!(status.code(), Some(8));
    assert!(output.contains("app migrate run"), "{output}");
    let mut mended = serve(&db, &[&listen[..], &["--migrate"]].concat()).spawn();
    address(&mut mended).await;
}

#[tokio::test]
async fn a_busy_port_is_one_sentence_with_a_way_out() {
    let db = TestDb::new().await;
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();

    let (status, output) = serve(&db, &["--listen", &address]).run().await;

    assert_eq!(status.code(), Some(1));
    assert!(output.contains(&format!("cannot listen on {address}")), "{output}");
    assert!(output.contains("--listen") && !output.contains("panicked"), "{output}");
}

#[tokio::test]
async fn without_a_database_it_ends_with_one_sentence() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("postgres://user:s3cr3t@{nobody}/surety");

    let (status, output) =
        App::command(["serve", "--listen", "127.0.0.1:0"]).env("DATABASE_URL", url).run().await;

    assert_eq!(status.code(), Some(7));
    assert!(output.contains("cannot reach PostgreSQL at 127.0.0.1"), "{output}");
    assert!(!output.contains("s3cr3t"), "{output}");
}
