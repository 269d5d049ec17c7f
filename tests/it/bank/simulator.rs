//! The client and the simulator, in each way that it behaves.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use surety::bank::simulator::{Simulator, SimulatorArgs};
use surety::bank::{
    BankError, BankInstruction, Direction, InvalidAnswer, PaymentStatus, Unavailable,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{LONG, SHORT, TestBank, client, deposit, key, money};
use crate::support::PATIENCE;

/// Waits until the bank has decided on what was late.
async fn decided(bank: &TestBank, effect_key: &str) -> PaymentStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match bank.client(LONG).enquire(&key(effect_key)).await.unwrap() {
            PaymentStatus::Pending => assert!(Instant::now() < deadline, "it never decides"),
            standing => return standing,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_receipt_is_what_enquiry_and_statement_say_too() {
    let bank = TestBank::start(json!({"success_rate": 1})).await;
    let withdrawal =
        BankInstruction { direction: Direction::Withdrawal, ..deposit("surety-1", "12.50") };
    let receipt = bank.client(LONG).send(&withdrawal).await.unwrap();

    assert_eq!(receipt.money, money("12.50"));
    let standing = bank.client(LONG).enquire(&key("surety-1")).await.unwrap();
    assert_eq!(standing, PaymentStatus::Booked(receipt.clone()));
    let statement = bank.statement().await;
    let [booking] = statement.as_slice() else { panic!("{statement:?}") };
    assert_eq!(booking["bank_reference"], json!(receipt.bank_reference));
    assert_eq!(booking["effect_key"], json!("surety-1"));
    assert_eq!(booking["direction"], json!("withdrawal"));
    assert_eq!((&booking["amount"], &booking["currency"]), (&json!("12.50"), &json!("EUR")));
    assert!(booking["booked_at"].as_str().unwrap().ends_with('Z'), "{booking}");
}

#[tokio::test]
async fn what_was_never_sent_is_unknown() {
    let bank = TestBank::start(json!({})).await;
    let standing = bank.client(LONG).enquire(&key("surety-1")).await;
    assert_eq!(standing, Ok(PaymentStatus::Unknown));
}

#[tokio::test]
async fn a_bank_that_does_not_act_is_told_from_one_that_does_not_answer() {
    for (dial, timeout, expected, may_have_acted, is_booked) in [
        ("unavailable_rate", LONG, BankError::Unavailable(Unavailable::NotAccepted), false, false),
        ("timeout_rate", SHORT, BankError::TimedOut, true, false),
        ("accept_then_timeout_rate", SHORT, BankError::TimedOut, true, true),
        ("cut_body_rate", LONG, BankError::Malformed(InvalidAnswer::Cut), true, true),
    ] {
        let bank = TestBank::start(json!({dial: 1})).await;
        let error = bank.client(timeout).send(&deposit("surety-1", "12.50")).await.unwrap_err();

        assert_eq!(error, expected, "{dial}");
        assert_eq!(error.may_have_acted(), may_have_acted, "{dial}");
        assert!(error.counts_against_breaker(), "{dial}");
        match bank.client(LONG).enquire(&key("surety-1")).await.unwrap() {
            PaymentStatus::Booked(receipt) if is_booked => {
                assert_eq!(receipt.money, money("12.50"))
            }
            PaymentStatus::Unknown if !is_booked => {}
            other => panic!("{dial}: {other:?}"),
        }
        assert_eq!(bank.statement().await.len(), usize::from(is_booked), "{dial}");
    }
}

#[tokio::test]
async fn a_decline_is_final_and_no_failure_of_the_banks() {
    let bank = TestBank::start(json!({"insufficient_funds_rate": 1})).await;
    let error = bank.client(LONG).send(&deposit("surety-1", "12.50")).await.unwrap_err();

    let reason = "insufficient-funds".to_owned();
    assert_eq!(error, BankError::Declined { reason: reason.clone() });
    assert!(!error.may_have_acted() && !error.counts_against_breaker());
    bank.turn(json!({"success_rate": 1})).await;
    assert_eq!(bank.client(LONG).send(&deposit("surety-1", "12.50")).await, Err(error));
    let standing = bank.client(LONG).enquire(&key("surety-1")).await;
    assert_eq!(standing, Ok(PaymentStatus::Declined { reason }));
    assert_eq!(bank.statement().await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_wrong_amount_is_noticed_and_enquiry_and_statement_have_the_right_one() {
    let bank = TestBank::start(json!({"wrong_amount_rate": 1})).await;
    let error = bank.client(LONG).send(&deposit("surety-1", "12.50")).await.unwrap_err();

    let BankError::Malformed(InvalidAnswer::OtherMoney(named)) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(named.money, money("12.51"));
    assert!(error.may_have_acted());
    let PaymentStatus::Booked(receipt) = bank.client(LONG).enquire(&key("surety-1")).await.unwrap()
    else {
        panic!("it is booked")
    };
    assert_eq!(receipt.money, money("12.50"));
    assert_eq!(receipt.bank_reference, named.bank_reference);
    assert_eq!(bank.statement().await[0]["amount"], json!("12.50"));
}

#[tokio::test]
async fn what_is_late_is_pending_and_then_goes_either_way() {
    let bank = TestBank::start(json!({"late_rate": 1, "late_after": "1h"})).await;
    let client = bank.client(SHORT);
    assert_eq!(client.send(&deposit("surety-1", "1")).await, Err(BankError::TimedOut));
    assert_eq!(client.enquire(&key("surety-1")).await, Ok(PaymentStatus::Pending));
    // To send again does not hurry it, and is no failure.
    let again = client.send(&deposit("surety-1", "1")).await.unwrap_err();
    assert_eq!(again, BankError::Pending);
    assert!(again.may_have_acted() && !again.counts_against_breaker());
    assert_eq!(bank.statement().await, Vec::<Value>::new());

    bank.turn(json!({"late_rate": 1, "late_after": "3s"})).await;
    let mut booked = BTreeSet::new();
    let mut calls = JoinSet::new();
    for number in 0..20 {
        let client = client.clone();
        calls.spawn(async move { client.send(&deposit(&format!("late-{number}"), "1")).await });
    }
    for result in calls.join_all().await {
        assert_eq!(result, Err(BankError::TimedOut));
    }
    for number in 0..20 {
        let effect_key = format!("late-{number}");
        match decided(&bank, &effect_key).await {
            PaymentStatus::Booked(_) => assert!(booked.insert(effect_key)),
            PaymentStatus::Declined { reason } => assert_eq!(reason, "account-closed"),
            other => panic!("{other:?}"),
        }
    }
    assert!((1..20).contains(&booked.len()), "both ways occur: {booked:?}");
    let stated: BTreeSet<String> = bank
        .statement()
        .await
        .iter()
        .map(|booking| booking["effect_key"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(stated, booked);
}

#[tokio::test]
async fn a_payment_sent_again_after_any_trouble_is_booked_once() {
    for dial in [
        "timeout_rate",
        "unavailable_rate",
        "accept_then_timeout_rate",
        "answer_twice_rate",
        "cut_body_rate",
        "wrong_amount_rate",
        "success_rate",
    ] {
        let bank = TestBank::start(json!({dial: 1})).await;
        let first = bank.client(SHORT).send(&deposit("surety-1", "12.50")).await;
        bank.turn(json!({"success_rate": 1})).await;
        let second = bank.client(LONG).send(&deposit("surety-1", "12.50")).await.unwrap();

        let statement = bank.statement().await;
        let [booking] = statement.as_slice() else { panic!("{dial}: {statement:?}") };
        assert_eq!(booking["bank_reference"], json!(second.bank_reference), "{dial}: {first:?}");
        assert_eq!(booking["amount"], json!("12.50"), "{dial}");
    }
}

#[tokio::test]
async fn a_hundred_at_once_with_one_key_are_one_booking() {
    let bank = TestBank::start(json!({"success_rate": 1, "latency": "0s..50ms"})).await;
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let client = bank.client(LONG);
        calls.spawn(async move { client.send(&deposit("surety-1", "12.50")).await.unwrap() });
    }
    let receipts = calls.join_all().await;

    assert!(receipts.iter().all(|receipt| *receipt == receipts[0]), "{receipts:?}");
    assert_eq!(bank.statement().await.len(), 1);
}

#[tokio::test]
async fn a_key_with_other_content_is_refused_and_changes_nothing() {
    let bank = TestBank::start(json!({"success_rate": 1})).await;
    let client = bank.client(LONG);
    let receipt = client.send(&deposit("surety-1", "12.50")).await.unwrap();
    let first = deposit("surety-1", "12.50");
    for other in [
        deposit("surety-1", "12.51"),
        BankInstruction { direction: Direction::Withdrawal, ..first.clone() },
        BankInstruction { account: "another".to_owned(), ..first },
    ] {
        let error = client.send(&other).await.unwrap_err();
        assert_eq!(error, BankError::Malformed(InvalidAnswer::Status(409)), "{other:?}");
        // One order's trouble; the bank is well.
        assert!(error.may_have_acted() && !error.counts_against_breaker());
    }
    // The same number, written in another way, is the same content.
    assert_eq!(client.send(&deposit("surety-1", "12.5")).await, Ok(receipt));
    assert_eq!(bank.statement().await.len(), 1);
}

#[tokio::test]
async fn two_answers_do_not_spoil_the_next_call() {
    let bank = TestBank::start(json!({"answer_twice_rate": 1})).await;
    let client = bank.client(LONG);
    let mut references = BTreeSet::new();
    for number in 0..30 {
        let effect_key = format!("surety-{number}");
        let receipt = client.send(&deposit(&effect_key, "12.50")).await.unwrap();
        let standing = client.enquire(&key(&effect_key)).await.unwrap();
        assert_eq!(standing, PaymentStatus::Booked(receipt.clone()));
        references.insert(receipt.bank_reference);
    }
    assert_eq!(references.len(), 30);
    assert_eq!(bank.statement().await.len(), 30);
}

#[tokio::test]
async fn the_simulator_really_answers_twice_on_one_connection() {
    let bank = TestBank::start(json!({"answer_twice_rate": 1})).await;
    let mut stream = TcpStream::connect(bank.url.trim_start_matches("http://")).await.unwrap();
    let body = r#"{"direction":"deposit","amount":"12.50","currency":"EUR","account":"a"}"#;
    let request = format!(
        "POST /payments HTTP/1.1\r\nhost: bank\r\nidempotency-key: surety-1\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut read = String::new();
    let mut piece = [0; 4096];
    while read.matches("HTTP/1.1 201 Created").count() < 2 || !read.ends_with('}') {
        let count = tokio::time::timeout(PATIENCE, stream.read(&mut piece)).await.unwrap().unwrap();
        assert_ne!(count, 0, "it closes after: {read}");
        read.push_str(std::str::from_utf8(&piece[..count]).unwrap());
    }
    let (first, second) = read.split_at(read.len() / 2);
    assert_eq!(first, second);
}

#[tokio::test]
async fn the_same_seed_treats_the_same_keys_the_same_in_any_order() {
    let mixed = json!({
        "success_rate": 0.4, "timeout_rate": 0, "unavailable_rate": 0.2, "cut_body_rate": 0.2,
        "wrong_amount_rate": 0.1,
    });
    let mut fates = Vec::new();
    for backwards in [false, true] {
        let bank = TestBank::start(mixed.clone()).await;
        let client = bank.client(LONG);
        let mut numbers: Vec<u32> = (0..60).collect();
        if backwards {
            numbers.reverse();
        }
        let mut outcomes = Vec::new();
        for number in numbers {
            let result = client.send(&deposit(&format!("surety-{number}"), "1")).await;
            // References are new each time.
            let outcome = match result {
                Ok(_) => "booked".to_owned(),
                Err(BankError::Malformed(InvalidAnswer::OtherMoney(_))) => "other money".to_owned(),
                Err(error) => error.to_string(),
            };
            outcomes.push((number, outcome));
        }
        outcomes.sort();
        fates.push(outcomes);
    }
    assert_eq!(fates[0], fates[1]);
    let kinds: BTreeSet<&str> = fates[0].iter().map(|(_, outcome)| outcome.as_str()).collect();
    assert_eq!(kinds.len(), 5, "{kinds:?}");
}

#[tokio::test]
async fn dials_are_shown_as_they_work_and_can_be_put_back() {
    let bank = TestBank::start(json!({"success_rate": 0.7, "late_rate": 0.3})).await;
    let shown = bank.get("/dials").await.json();
    assert_eq!(shown["success_rate"], json!(0.7));
    assert_eq!(shown["timeout_rate"], json!(0.0));
    assert_eq!(shown["latency"], json!("0s"));
    let answer = bank.turn(shown.clone()).await;
    assert_eq!((answer.status, answer.json()), (200, shown.clone()));

    for (dials, status) in [
        (json!({"success_rate": 0.8, "late_rate": 0.3}), 422),
        (json!({"late_rate": 2}), 422),
        (json!({"sucess_rate": 1}), 400),
        (json!({"latency": "soon"}), 400),
    ] {
        let refused = bank.turn(dials.clone()).await;
        assert_eq!(refused.status, status, "{dials}: {refused:?}");
        assert!(!refused.json()["detail"].as_str().unwrap().is_empty());
    }
    assert_eq!(bank.get("/dials").await.json(), shown);
}

#[tokio::test]
async fn a_statement_comes_in_pages_and_by_time() {
    let bank = TestBank::start(json!({"success_rate": 1})).await;
    let client = bank.client(LONG);
    for number in 0..125 {
        client.send(&deposit(&format!("surety-{number}"), "1")).await.unwrap();
    }
    let mut bookings = Vec::new();
    let mut path = "/statement?limit=50".to_owned();
    let mut pages = 0;
    loop {
        let page = bank.get(&path).await.json();
        bookings.extend(page["bookings"].as_array().unwrap().clone());
        pages += 1;
        let Some(next) = page["next"].as_u64() else { break };
        path = format!("/statement?limit=50&after={next}");
    }
    assert_eq!(pages, 3);
    assert_eq!(bookings.len(), 125);

    // The client reads the same.
    let mut lines = Vec::new();
    let mut next = Some(0);
    while let Some(after) = next {
        let page = client.statement(after).await.unwrap();
        lines.extend(page.lines);
        next = page.next;
    }
    for (line, booking) in lines.iter().zip(&bookings) {
        assert_eq!(booking["effect_key"], json!(line.effect_key.as_str()));
        assert_eq!(booking["bank_reference"], json!(line.receipt.bank_reference));
        assert_eq!((line.direction, line.receipt.money), (Direction::Deposit, money("1")));
    }
    assert_eq!(lines.len(), bookings.len());

    let middle = bookings[75]["booked_at"].as_str().unwrap();
    let since = bank.get(&format!("/statement?from={middle}")).await.json();
    assert_eq!(since["bookings"].as_array().unwrap().as_slice(), &bookings[75..]);
    let until = bank.get(&format!("/statement?until={middle}")).await.json();
    assert_eq!(until["bookings"].as_array().unwrap().as_slice(), &bookings[..75]);
    for wrong in ["from=yesterday", "limit=0", "limit=10000", "after=-1", "form=x"] {
        assert_eq!(bank.get(&format!("/statement?{wrong}")).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn what_is_no_instruction_is_refused_and_not_booked() {
    let bank = TestBank::start(json!({"success_rate": 1})).await;
    let good = json!({"direction": "deposit", "amount": "1.00", "currency": "EUR", "account": "a"});
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    for (effect_key, body, status) in [
        ("surety-1", with("amount", json!(1.0)), 400),
        ("surety-1", with("amount", json!("1e2")), 422),
        ("surety-1", with("amount", json!("0")), 422),
        ("surety-1", with("amount", json!("1.005")), 422),
        ("surety-1", with("currency", json!("XXX")), 422),
        ("surety-1", with("direction", json!("sideways")), 400),
        ("surety-1", with("extra", json!(1)), 400),
        ("no key", good.clone(), 400),
        ("", good.clone(), 400),
    ] {
        let request = bank.http.post(format!("{}/payments", bank.url));
        let answer =
            crate::support::send(request.header("idempotency-key", effect_key).json(&body)).await;
        assert_eq!(answer.status, status, "{effect_key}: {body}: {answer:?}");
    }
    assert_eq!(bank.statement().await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_what_is_never_answered() {
    let dials = serde_json::from_value(json!({"accept_then_timeout_rate": 1})).unwrap();
    let args = SimulatorArgs { behaviour: dials, ..SimulatorArgs::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shutdown = CancellationToken::new();
    let simulator = Simulator::start(listener, &args, shutdown.clone()).unwrap();
    let client = client(&format!("http://{}", simulator.address), LONG);
    let sending = client.clone();
    let call = tokio::spawn(async move { sending.send(&deposit("surety-1", "1")).await });
    while client.enquire(&key("surety-1")).await.unwrap() == PaymentStatus::Unknown {}

    shutdown.cancel();
    tokio::time::timeout(PATIENCE, simulator.stopped()).await.expect("it stops");
    assert_eq!(call.await.unwrap(), Err(BankError::Malformed(InvalidAnswer::Cut)));
}
