//! The keys of `app dev` do what they say.

use super::dev;
use crate::support::{Size, USUAL, eventually_async, scratch_dir};

/// Lines without colours are easier to look for.
const PLAIN: [(&str, &str); 1] = [("NO_COLOR", "1")];
/// Wide enough that no line is broken.
const WIDE: Size = Size { rows: 50, columns: 200 };

#[tokio::test]
async fn a_transaction_is_sent_and_followed_and_so_is_one_that_fails() {
    let dir = scratch_dir();
    let mut terminal = dev(&dir.join("data"), &PLAIN, WIDE).await;
    terminal.press("t");
    terminal.wait_for("  t  its whole way: ").await;
    let shown = terminal.all_rows().join("\n");
    assert!(shown.contains("12.34 EUR from acc_anna to acc_ben, accepted in "), "{shown}");
    assert!(shown.contains(" is COMPLETED after "), "{shown}");
    // The line of the log, above the same foot.
    assert!(shown.contains("webhook  txn_dev_"), "{shown}");
    assert!(shown.contains("/ui/traces/"), "{shown}");

    terminal.press("f");
    let shown = terminal.wait_for("  f  its whole way: ").await;
    assert!(shown.contains(" is FAILED (same-account) after "), "{shown}");

    // Both outcomes are told to the receiver that the show brings.
    terminal.wait_for("webhook transaction.completed received as evt_").await;
    let shown = terminal.wait_for("webhook transaction.failed received as evt_").await;
    assert!(!shown.contains("refused: its signature"), "{shown}");

    terminal.press("v");
    terminal.wait_for("  v  every guarantee holds: ").await;
}

#[tokio::test]
async fn the_whole_way_of_a_transaction_is_one_waterfall() {
    let dir = scratch_dir();
    let mut terminal = dev(&dir.join("data"), &PLAIN, WIDE).await;
    terminal.press("t");
    let shown = terminal.wait_for("  t  its whole way: ").await;
    let parts = [
        "send a transaction",
        "POST /v1/webhooks/transactions",
        "enqueue default",
        "process default",
        "process events",
        "process webhooks",
        "client to 127.0.0.1:",
    ];
    let page = page_with(&shown, &parts).await;
    // It leads to what it is about, and nothing in it is nobody's child.
    assert!(page.contains("href=\"/ui/transactions/txn"), "{page}");
    assert!(page.contains("href=\"/ui/jobs/1\""), "{page}");
    assert!(!page.contains("parent elsewhere"), "{page}");

    // And the other way round.
    let trace = trace_url(&shown);
    let (site, path) = trace.split_once("/ui/").unwrap();
    let transaction = page.split("/ui/transactions/").nth(1).unwrap().split('"').next().unwrap();
    for about in [format!("/ui/transactions/{transaction}"), "/ui/jobs/1".to_owned()] {
        let leads_there = get(&format!("{site}{about}")).await;
        assert!(leads_there.contains(&format!("href=\"/ui/{path}\"")), "{leads_there}");
    }

    let list = trace_url(&shown).rsplit_once('/').unwrap().0.to_owned();
    let traces = get(&list).await;
    assert!(traces.contains("send a transaction"), "{traces}");
    assert!(!traces.contains("GET /ui"), "looking at pages leaves no traces: {traces}");
    let none = get(&format!("{list}?text=no+such+thing")).await;
    assert!(none.contains("No trace matches"), "{none}");
    let gone = reqwest::get(format!("{list}/{}", "0".repeat(32))).await.unwrap();
    assert_eq!(gone.status(), 404);
}

#[tokio::test]
async fn a_worker_that_is_killed_in_the_middle_loses_nothing() {
    let dir = scratch_dir();
    let mut terminal = dev(&dir.join("data"), &PLAIN, WIDE).await;
    terminal.press("k");
    terminal.wait_for("the bank has heard of each").await;
    terminal.wait_for("  k  kill -9 ").await;
    terminal.wait_for("another worker starts as process ").await;
    terminal.wait_for("  k  rescued ").await;
    terminal.wait_for("3 of 3 deposits COMPLETED, ").await;
    let shown = terminal.wait_for("the bank was told of each once, ").await;
    // The first process is gone, and the second one has ended in good order.
    let pids: Vec<&str> = shown
        .match_indices("starts as process ")
        .map(|(at, mark)| &shown[at + mark.len()..])
        .map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap())
        .collect();
    assert_eq!(pids.len(), 2, "{shown}");
    assert_ne!(pids[0], pids[1]);
    assert!(pids.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()));

    terminal.press("v");
    terminal.wait_for("  v  every guarantee holds: ").await;
}

#[tokio::test]
async fn a_bank_that_is_down_makes_a_deposit_wait_and_not_fail() {
    let dir = scratch_dir();
    // A bank that books all, as soon as it can be reached.
    let variables =
        [PLAIN[0], ("APP_BANK_SIMULATOR_SUCCESS_RATE", "1"), ("APP_BANK_RETRY_DELAY", "500ms")];
    let mut terminal = dev(&dir.join("data"), &variables, WIDE).await;
    terminal.press("b");
    terminal.wait_for("  b  the bank is down").await;
    terminal.wait_for("a deposit of 12.34 EUR is ordered and accepted in ").await;
    terminal.wait_for("  b  nothing is lost. ").await;
    terminal.wait_for("  b  b brings the bank up again").await;
    terminal
        .wait_until("the foot offers to bring it up", |rows| foot(rows).contains("bank up"))
        .await;
    terminal.press("b");
    terminal.wait_for("  b  the bank is up again").await;
    terminal.wait_for("  b  the deposit is COMPLETED ").await;
    let shown = terminal.wait_for("  b  its whole way: ").await;
    // Both attempts, and the bank that could not be reached.
    let parts = [
        "order a deposit",
        "POST /v1/deposits",
        "enqueue bank",
        "process bank",
        "POST /payments",
        "Failed",
        "process webhooks",
    ];
    page_with(&shown, &parts).await;
}

/// The address of the newest trace that was printed.
fn trace_url(shown: &str) -> String {
    let words = shown.split_whitespace();
    let mut urls = words.filter(|word| word.starts_with("http://") && word.contains("/ui/traces/"));
    urls.next_back().unwrap().to_owned()
}

async fn get(url: &str) -> String {
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

/// The page of the newest trace that was printed, once it has all these parts.
async fn page_with(shown: &str, parts: &[&str]) -> String {
    let url = trace_url(shown);
    let has_all = async || {
        let page = get(&url).await;
        parts.iter().all(|part| page.contains(part))
    };
    eventually_async(&format!("{url} has {parts:?}"), has_all).await;
    get(&url).await
}

#[tokio::test]
async fn the_dashboard_is_named_and_q_quits_in_good_order() {
    let dir = scratch_dir();
    let mut terminal = dev(&dir.join("data"), &PLAIN, USUAL).await;
    terminal.press("d");
    terminal.wait_for("  d  http://127.0.0.1:").await;
    terminal.press("?");
    terminal.wait_for("finishes the jobs in progress and quits").await;
    // What somebody pastes, and special keys, are no letters to act on.
    terminal.press("\u{1b}[200~ttt\n\u{1b}[201~\u{1b}[1;5t");
    terminal.press("q");
    assert!(terminal.wait_for_exit().await.success());
    let shown = terminal.wait_for("The data stays in ").await;
    assert!(!shown.contains("webhook  txn_dev_"), "{shown}");
    assert!(terminal.is_given_back());
}

/// The last row that says something.
pub(super) fn foot(rows: &[String]) -> String {
    rows.iter().rev().find(|row| !row.is_empty()).cloned().unwrap_or_default()
}
