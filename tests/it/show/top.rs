//! `app top`: one picture as text, and the live screen.

use sqlx::PgPool;

use crate::support::ledger::{accepted, count};
use crate::support::{
    App, Binary as _, Signal, Size, Terminal, TestCluster, TestDb, USUAL, eventually_async,
    migrated, send_signal,
};

/// A queue that is paused, with a job in it whose error would act on a terminal.
async fn fill(pool: &PgPool) {
    accepted(pool, "anna", "ben", "12.34 EUR").await;
    sqlx::raw_sql(
        "
        insert into queue.pauses (queue, paused_by, reason)
          values ('payouts', 'ada', 'the bank is closed');
        insert into queue.jobs (kind, queue) values ('pay_out', 'payouts'), ('pay_out', 'payouts');
        ",
    )
    .execute(pool)
    .await
    .unwrap();
}

async fn once(db: &TestDb, args: &[&str]) -> String {
    let all = [&["top", "--once"], args].concat();
    let (status, output) = App::command(all).env("DATABASE_URL", &db.url).run().await;
    assert!(status.success(), "{output}");
    output
}

/// `app top` on a terminal, once there is something to see.
async fn live(url: &str, args: &[&str], size: Size) -> Terminal {
    let args = [&["top", "--interval", "500ms"], args].concat();
    let terminal = Terminal::start(args, &[("DATABASE_URL", url)], size);
    let what = "the first look is shown";
    terminal.wait_until(what, |rows| rows[0].contains("UTC") && rows[1].contains('[')).await;
    terminal
}

#[tokio::test]
async fn one_picture_has_the_figures_of_each_view() {
    let db = TestDb::new().await;
    fill(&db.pool).await;
    let overview = once(&db, &[]).await;
    assert!(overview.contains("[1 overview]"), "{overview}");
    assert!(overview.contains("Queue payouts is paused"), "{overview}");
    assert!(overview.contains("workers   0 working"), "{overview}");

    let queues = once(&db, &["--view", "queues"]).await;
    let row = queues.lines().find(|line| line.starts_with("payouts")).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!((cells[1], *cells.last().unwrap()), ("2", "ada"), "{queues}");

    let workers = once(&db, &["--view", "workers"]).await;
    assert!(workers.contains("start one with 'app work'"), "{workers}");
    let failures = once(&db, &["--view", "failures"]).await;
    assert!(failures.contains("nothing fails"), "{failures}");
}

#[tokio::test]
async fn what_data_says_does_not_act_on_the_terminal() {
    let db = TestDb::new().await;
    sqlx::raw_sql(
        r"
        create function refuse() returns trigger language plpgsql as
          $$ begin raise exception E'\x1b]0;owned\x07\x1b[2J no such host'; end $$;
        create trigger refuse before insert on payments.transfers
          for each statement execute function refuse();
        ",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    accepted(&db.pool, "anna", "ben", "12.34 EUR").await;
    let mut worker = App::command(["work"]).env("DATABASE_URL", &db.url).spawn();
    let failed = "select count(*) from queue.attempts where outcome = 'failed'";
    eventually_async("it fails", async || count(&db.pool, failed).await > 0).await;
    worker.signal(Signal::Terminate);
    worker.wait_for_exit().await;
    for view in ["overview", "failures"] {
        let shown = once(&db, &["--view", view, "--columns", "300"]).await;
        assert!(shown.contains("no such host"), "{shown}");
        assert!(!shown.contains('\u{1b}') && !shown.contains('\u{7}'), "{shown:?}");
    }
}

#[tokio::test]
async fn a_picture_is_as_wide_as_it_is_told_to_be() {
    let db = TestDb::new().await;
    fill(&db.pool).await;
    for (view, columns) in [("overview", 20), ("queues", 20), ("workers", 35), ("queues", 500)] {
        let shown = once(&db, &["--view", view, "--columns", &columns.to_string()]).await;
        let widest = shown.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= columns, "{view} in {columns}:\n{shown}");
    }
}

#[tokio::test]
async fn keys_choose_a_view_and_q_gives_the_terminal_back() {
    let db = TestDb::new().await;
    fill(&db.pool).await;
    let mut terminal = live(&db.url, &[], USUAL).await;
    assert!(terminal.rows()[1].contains("[1 overview]"));
    terminal.press("2");
    let is_there =
        |rows: &[String]| rows[1].contains("[2 queues]") && rows[4].starts_with("default");
    terminal.wait_until("the queues are shown", is_there).await;
    terminal.press("\t");
    terminal.wait_until("failures follow", |rows| rows[1].contains("[3 failures]")).await;
    terminal.press("4");
    terminal.wait_until("workers are shown", |rows| rows[1].contains("[4 workers]")).await;
    terminal.press("p");
    terminal.wait_until("it says that it pauses", |rows| rows[0].contains("paused")).await;
    terminal.press("q");
    assert!(terminal.wait_for_exit().await.success());
    assert!(terminal.is_given_back());
    // The screen of before is back, and the cursor.
    terminal.wait_for("\u{1b}[?1049l").await;
    terminal.wait_for("\u{1b}[?25h").await;
}

#[tokio::test]
async fn what_happens_is_seen_without_a_key() {
    let db = TestDb::new().await;
    let terminal = live(&db.url, &["--view", "queues"], USUAL).await;
    assert!(!terminal.rows().join("\n").contains("payouts"));
    fill(&db.pool).await;
    let comes = |rows: &[String]| rows.iter().any(|row| row.starts_with("payouts"));
    terminal.wait_until("the queue comes", comes).await;
}

#[tokio::test]
async fn no_size_of_the_terminal_is_too_small() {
    let db = TestDb::new().await;
    fill(&db.pool).await;
    let mut terminal = live(&db.url, &[], USUAL).await;
    for (rows, columns) in [(12, 40), (3, 10), (1, 1), (2, 300), (60, 7)] {
        terminal.resize(Size { rows, columns });
        for key in ["1", "2", "3", "4", "\u{1b}[B"] {
            terminal.press(key);
        }
    }
    terminal.resize(USUAL);
    terminal.press("2");
    terminal.wait_until("it is still there", |rows| rows[1].contains("[2 queues]")).await;
    terminal.press("q");
    assert!(terminal.wait_for_exit().await.success());
}

#[tokio::test]
async fn a_key_that_is_pressed_as_the_size_changes_is_heard() {
    let db = TestDb::new().await;
    let mut terminal = live(&db.url, &[], USUAL).await;
    for (turn, rows) in (0..200).zip([24, 25].into_iter().cycle()) {
        let (key, view) = if turn % 2 == 0 { ("2", "[2 queues]") } else { ("4", "[4 workers]") };
        terminal.resize(Size { rows, ..USUAL });
        terminal.press(key);
        terminal.wait_until(view, |rows| rows[1].contains(view)).await;
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_shown_and_waited_for() {
    let mut cluster = TestCluster::start().await;
    let pool = migrated(&cluster, "surety").await;
    fill(&pool).await;
    let terminal = live(&cluster.url("surety"), &["--view", "queues"], USUAL).await;
    let queue = |rows: &[String]| rows.iter().any(|row| row.starts_with("payouts"));
    terminal.wait_until("the queues are shown", queue).await;
    cluster.stop_immediate().await;
    let away = |rows: &[String]| rows[2].contains("the database is away for ");
    terminal.wait_until("it says that the database is away", away).await;
    assert!(queue(&terminal.rows()), "what it was before stays:\n{}", terminal.rows().join("\n"));
    cluster.start_again().await;
    terminal.wait_until("it is there again", |rows| rows[2].is_empty() && queue(rows)).await;
}

#[tokio::test]
async fn a_signal_gives_the_terminal_back() {
    let db = TestDb::new().await;
    let mut terminal = live(&db.url, &[], USUAL).await;
    assert!(!terminal.is_given_back());
    send_signal(terminal.pid(), Signal::Terminate);
    assert_eq!(terminal.wait_for_exit().await.code(), Some(143));
    assert!(terminal.is_given_back());
}

#[tokio::test]
async fn without_a_terminal_it_says_what_to_do() {
    let db = TestDb::new().await;
    let command = App::command(["top"]).env("DATABASE_URL", &db.url);
    let (status, output) = command.run().await;
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("--once prints one picture"), "{output}");
}
