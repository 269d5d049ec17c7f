//! The terminal of `app dev`: its foot, and giving it back.

use super::dev;
use super::keys::foot;
use crate::support::{App, Binary as _, Signal, Size, USUAL, eventually, scratch_dir, send_signal};

/// The foot of a terminal of 80 columns.
const FOOT: &str = "d dashboard";

#[tokio::test]
async fn the_foot_is_one_row_of_any_terminal() {
    let dir = scratch_dir();
    let terminal = dev(&dir.join("data"), &[], USUAL).await;
    terminal.wait_until("the keys are shown", |rows| foot(rows).starts_with(FOOT)).await;
    assert!(terminal.text().contains("\u{1b}[1md\u{1b}[0m dashboard"));
    for (columns, expected) in [(60, "d web  t send"), (24, "d  t  f  k  b  v  q")] {
        terminal.resize(Size { rows: 24, columns });
        let what = format!("the keys fit into {columns} columns");
        terminal.wait_until(&what, |rows| foot(rows).starts_with(expected)).await;
    }
}

#[tokio::test]
async fn without_colours_the_foot_is_plain() {
    let dir = scratch_dir();
    let terminal = dev(&dir.join("data"), &[("NO_COLOR", "1")], USUAL).await;
    terminal.wait_until("the keys are shown", |rows| foot(rows).starts_with(FOOT)).await;
    assert!(!terminal.text().contains("\u{1b}[1m"), "{}", terminal.text());
}

#[tokio::test]
async fn lines_go_by_above_the_foot_and_neither_tears_the_other() {
    let dir = scratch_dir();
    let terminal = dev(&dir.join("data"), &[], Size { rows: 24, columns: 160 }).await;
    terminal.wait_until("the keys are shown", |rows| foot(rows).starts_with(FOOT)).await;
    let said = terminal.text();
    let api = said.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let url = format!("http://{api}");
    let (status, output) = App::command(["send", "--count", "200", "--url", &url]).run().await;
    assert!(status.success(), "{output}");
    terminal.wait_for_count("  202 in ", 200).await;

    let rows = terminal.all_rows();
    let webhooks = rows.iter().filter(|row| row.contains("  webhook  ")).count();
    assert_eq!(webhooks, 200, "{}", rows.join("\n"));
    for row in rows.iter().filter(|row| row.contains("  webhook  ")) {
        let is_whole = row.as_bytes()[2] == b':' && row.ends_with(" ms");
        assert!(is_whole && !row.contains(FOOT), "{row}");
    }
    let feet = rows.iter().filter(|row| row.contains(FOOT)).count();
    assert_eq!(feet, 1, "{}", rows.join("\n"));
    assert!(foot(&rows).starts_with(FOOT));
}

#[tokio::test]
async fn the_terminal_is_given_back_after_ctrl_c() {
    let dir = scratch_dir();
    let mut terminal = dev(&dir.join("data"), &[], USUAL).await;
    eventually("keys are taken", || !terminal.is_given_back()).await;
    terminal.press("\u{3}");
    assert!(terminal.wait_for_exit().await.success());
    assert!(terminal.is_given_back());
    let rows = terminal.rows();
    assert!(!rows.iter().any(|row| row.contains(FOOT)), "{}", rows.join("\n"));
}

#[tokio::test]
async fn the_terminal_is_given_back_when_a_second_ctrl_c_ends_it_at_once() {
    let dir = scratch_dir();
    let mut terminal = dev(&dir.join("data"), &[], USUAL).await;
    // A server that does not end keeps the app waiting.
    let pid_file = dir.join("data/postgres/postmaster.pid");
    let server = std::fs::read_to_string(pid_file).unwrap();
    let server: i32 = server.lines().next().unwrap().parse().unwrap();
    send_signal(server, Signal::Stop);
    terminal.press("q");
    terminal.wait_for("Stopping").await;
    send_signal(terminal.pid(), Signal::Interrupt);
    assert_eq!(terminal.wait_for_exit().await.code(), Some(130));
    assert!(terminal.is_given_back());
    send_signal(server, Signal::Continue);
}

#[tokio::test]
async fn ctrl_z_gives_the_terminal_back_until_it_goes_on() {
    let dir = scratch_dir();
    let mut terminal = dev(&dir.join("data"), &[], USUAL).await;
    eventually("keys are taken", || !terminal.is_given_back()).await;
    terminal.press("\u{1a}");
    let pid = terminal.pid();
    eventually("it stops", || state(pid) == 'T').await;
    assert!(terminal.is_given_back());
    terminal.wait_until("the keys are gone", |rows| !foot(rows).contains(FOOT)).await;

    send_signal(pid, Signal::Continue);
    eventually("keys are taken again", || !terminal.is_given_back()).await;
    terminal.wait_until("the keys are shown again", |rows| foot(rows).starts_with(FOOT)).await;
    terminal.press("q");
    assert!(terminal.wait_for_exit().await.success());
    assert!(terminal.is_given_back());
}

#[tokio::test]
async fn without_a_terminal_there_are_no_keys() {
    let dir = scratch_dir();
    let data_dir = dir.join("data");
    let args = ["dev", "--no-download", "--listen", "127.0.0.1:0", "--data-dir"];
    let args = args.into_iter().chain([data_dir.to_str().unwrap()]);
    let mut app = App::command(args).stdin("q").spawn();
    app.wait_for_line("Ready in").await;
    app.signal(Signal::Interrupt);
    assert!(app.wait_for_exit().await.success());
    let said = app.output();
    assert!(!said.contains('\u{1b}') && !said.contains(FOOT), "{said}");
}

/// The state of a process, as the system has it.
fn state(pid: i32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default().trim_start();
    after_name.chars().next().unwrap_or('?')
}
