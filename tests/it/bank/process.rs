//! `app bank` as a process that is killed.

use std::io::Write as _;
use std::path::Path;

use serde_json::json;
use surety::bank::{BankError, PaymentStatus};

use super::{LONG, SHORT, client, deposit, key, plain_http};
use crate::support::{App, Binary as _, Signal, scratch_dir, send};

/// A simulator that keeps its data here, and where it is.
pub(crate) async fn spawn(data: &Path, flags: &[&str]) -> (App, String) {
    let fixed = ["bank", "--listen", "127.0.0.1:0", "--seed", "1", "--data"];
    let mut app = App::command([&fixed[..], &[data.to_str().unwrap()], flags].concat())
        .env("APP_BANK_SIMULATOR_LATENCY", "0s")
        .spawn();
    let line = app.wait_for_line("the bank simulator is at http://").await;
    let url = line[line.find("http://").unwrap()..].split([',', '"']).next().unwrap().to_owned();
    (app, url)
}

#[tokio::test]
async fn what_was_decided_survives_a_kill() {
    let dir = scratch_dir();
    let data = dir.join("bank.jsonl");
    let (mut app, url) = spawn(&data, &["--accept-then-timeout-rate", "1"]).await;
    let lost = client(&url, SHORT).send(&deposit("surety-1", "12.50")).await;
    assert_eq!(lost, Err(BankError::TimedOut));
    let http = plain_http();
    send(http.put(format!("{url}/dials")).json(&json!({"insufficient_funds_rate": 1}))).await;
    client(&url, LONG).send(&deposit("surety-2", "1")).await.unwrap_err();
    let late = json!({"late_rate": 1, "late_after": "1h"});
    send(http.put(format!("{url}/dials")).json(&late)).await;
    client(&url, SHORT).send(&deposit("surety-3", "1")).await.unwrap_err();
    app.kill().await;

    let (mut app, url) = spawn(&data, &["--success-rate", "1"]).await;
    let client = client(&url, LONG);
    let PaymentStatus::Booked(receipt) = client.enquire(&key("surety-1")).await.unwrap() else {
        panic!("it was booked")
    };
    assert_eq!(client.send(&deposit("surety-1", "12.50")).await, Ok(receipt.clone()));
    let declined = client.enquire(&key("surety-2")).await.unwrap();
    assert_eq!(declined, PaymentStatus::Declined { reason: "insufficient-funds".to_owned() });
    assert_eq!(client.enquire(&key("surety-3")).await, Ok(PaymentStatus::Pending));
    let statement = send(http.get(format!("{url}/statement"))).await.json();
    assert_eq!(statement["bookings"].as_array().unwrap().len(), 1);
    assert_eq!(statement["bookings"][0]["bank_reference"], json!(receipt.bank_reference));

    app.signal(Signal::Terminate);
    assert!(app.wait_for_exit().await.success(), "{}", app.output());
}

#[tokio::test]
async fn a_line_that_was_being_written_at_the_kill_is_dropped() {
    let dir = scratch_dir();
    let data = dir.join("bank.jsonl");
    let (mut app, url) = spawn(&data, &["--success-rate", "1"]).await;
    client(&url, LONG).send(&deposit("surety-1", "1")).await.unwrap();
    app.kill().await;
    let whole = std::fs::read_to_string(&data).unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(&data).unwrap();
    // Longer than what will be written over it.
    file.write_all(whole.trim_end().repeat(3).as_bytes()).unwrap();

    let (_app, url) = spawn(&data, &["--success-rate", "1"]).await;
    client(&url, LONG).send(&deposit("surety-2", "1")).await.unwrap();
    let lines = std::fs::read_to_string(&data).unwrap();
    assert!(lines.starts_with(&whole) && lines.lines().count() == 2, "{lines}");
    assert!(lines.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{lines}");
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_with_the_way_out() {
    let too_much = ["--success-rate", "0.9", "--late-rate", "0.2"];
    for (flags, code, words) in [
        (&too_much[..], 78, &["sum to 1.1", "lower some"][..]),
        (&["--late-rate", "2"], 78, &["from 0 to 1"]),
        (&["--latency", "soon"], 2, &["2s..10s"]),
        (&["--latency", "3s..1s"], 2, &["2s..10s"]),
        (&["--data", "/nowhere/bank.jsonl"], 1, &["/nowhere/bank.jsonl", "No such file"]),
    ] {
        let fixed = ["bank", "--listen", "127.0.0.1:0"];
        let (status, output) = App::command([&fixed[..], flags].concat()).run().await;
        assert_eq!(status.code(), Some(code), "{flags:?}: {output}");
        for word in words {
            assert!(output.contains(word), "{flags:?}: no {word:?} in: {output}");
        }
    }
}
