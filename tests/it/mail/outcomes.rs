//! What becomes of a mail, whatever the mail server does.

use std::time::Duration;

use mailin::Response;
use surety::jobs::{SendTransactionEmail, dead_letters};
use surety::queue::operate::discarded::Decision;
use surety::queue::{Job as _, NewJob};

use super::{Post, ada, args, deposit, enqueue_in, message_id, parse, run};
use crate::support::{App, Binary as _, eventually};

fn answer(code: u16) -> Response {
    Response::custom(code, "5.1.1 <ada@example.com>: said the server".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_does_not_take_now_is_sent_again_under_the_same_id() {
    let post = Post::new().await;
    post.server.state().to_recipients.push_back(answer(450));
    post.server.state().to_mails.push_back(answer(451));
    let job = deposit(ada());
    let id = post.enqueue(&job).await;
    for (attempt, code) in [(1, 450), (2, 451)] {
        post.run().await;
        let (state, attempts, errors) = post.job(id).await;
        assert_eq!((state.as_str(), attempts), ("retryable", attempt));
        let error = errors.last().unwrap();
        assert!(error.contains(&code.to_string()) && !error.contains("ada@"), "{error}");
        assert!(post.records(&job).await.is_empty(), "it has no outcome yet");
        post.let_time_pass().await;
    }
    post.run().await;

    assert_eq!(post.record(&job).await, ("sent", None, 3));
    let mail = post.only_mail();
    assert_eq!(parse(&mail.data).message_id(), Some(message_id(&job).as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_does_not_exist_ends_the_mail_and_is_recorded() {
    for code in [550, 552, 553, 554] {
        let post = Post::new().await;
        post.server.state().to_recipients.push_back(answer(code));
        let job = deposit(ada());
        let id = post.enqueue(&job).await;
        post.run().await;
        post.let_time_pass().await;
        post.run().await;

        assert_eq!(post.job(id).await, ("completed".to_owned(), 1, vec![]), "{code}");
        assert_eq!(post.record(&job).await, ("failed", Some(format!("smtp-{code}")), 1));
        assert!(post.server.taken().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_is_refused_is_about_the_settings_and_ends_no_mail() {
    let post = Post::new().await;
    post.server.state().to_senders.push_back(answer(550));
    let job = deposit(ada());
    let id = post.enqueue(&job).await;
    post.run().await;
    assert_eq!(post.job(id).await.0, "retryable");
    post.let_time_pass().await;
    post.run().await;
    assert_eq!(post.record(&job).await, ("sent", None, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_costs_the_time_limit_and_one_attempt() {
    let mut post = Post::new().await;
    // Long enough for all before the answer that never comes.
    post.args.smtp_timeout = Duration::from_secs(2);
    post.server.state().is_holding = true;
    let job = deposit(ada());
    let id = post.enqueue(&job).await;
    post.run().await;

    let (state, attempt, errors) = post.job(id).await;
    assert_eq!((state.as_str(), attempt), ("retryable", 1));
    assert!(errors[0].contains("it did not answer in time"), "{errors:?}");
    // It was taken, and nobody could know: it comes again, under the id that readers know.
    post.server.release();
    post.let_time_pass().await;
    post.run().await;
    assert_eq!(post.record(&job).await, ("sent", None, 2));
    let taken = post.server.taken();
    let ids: Vec<_> =
        taken.iter().map(|it| parse(&it.data).message_id().unwrap().to_owned()).collect();
    assert_eq!(ids, vec![message_id(&job); 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_asked_until_the_attempts_end_and_the_job_can_be_redriven() {
    let mut post = Post::new().await;
    let there = post.args.clone();
    post.args = args("smtp://127.0.0.1:1?tls=none");
    let job = deposit(ada());
    let id = enqueue_in(post.pool(), NewJob::new(&job).unwrap().max_attempts(2)).await;
    post.run().await;
    assert_eq!(post.job(id).await.0, "retryable");
    post.let_time_pass().await;
    post.run().await;
    assert_eq!(post.job(id).await.0, "discarded");
    let reason = Some("mail-server-unavailable".to_owned());
    assert_eq!(post.record(&job).await, ("failed", reason, 2));

    let mut conn = post.pool().acquire().await.unwrap();
    let decision = Decision { by: "an operator", reason: "it is there again" };
    dead_letters::redrive(&mut conn, id, decision).await.unwrap().unwrap();
    run(post.pool(), there.mailer().unwrap()).await;
    assert_eq!(post.job(id).await.0, "completed");
    assert_eq!(post.record(&job).await, ("sent", None, 3));
    let mail = post.only_mail();
    assert_eq!(parse(&mail.data).message_id(), Some(message_id(&job).as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_outcome_is_one_mail_however_many_jobs_there_are() {
    let post = Post::new().await;
    let job = deposit(ada());
    for _ in 0..3 {
        post.enqueue(&job).await;
        post.run().await;
    }
    post.only_mail();
    assert_eq!(post.record(&job).await, ("sent", None, 1));
    // Another recipient of the same event has a mail, and an id, of his own.
    let other = SendTransactionEmail { user: ada().user, ..job.clone() };
    post.enqueue(&other).await;
    post.run().await;
    let taken = post.server.taken();
    assert_eq!(taken.len(), 2);
    assert_eq!(parse(&taken[1].data).message_id(), Some(message_id(&other).as_str()));
    assert_ne!(message_id(&job), message_id(&other));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_keeps_to_its_connections_and_uses_them_again() {
    let mut post = Post::new().await;
    post.args.smtp_connections = 2;
    for _ in 0..30 {
        post.enqueue(&deposit(ada())).await;
    }
    post.run().await;
    let state = post.server.state();
    assert_eq!(state.taken.len(), 30);
    assert!(state.most_open <= 2, "{} at once", state.most_open);
    assert!(state.connections <= 2, "{} in all", state.connections);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_mail_server_a_mail_is_recorded_as_not_sent_and_does_not_wait() {
    let post = Post::new().await;
    let job = deposit(ada());
    let id = post.enqueue(&job).await;
    run(post.pool(), None).await;
    assert_eq!(post.job(id).await.0, "completed");
    assert_eq!(post.record(&job).await, ("not_configured", None, 1));
    assert_eq!(post.records(&job).await[0].message_id, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_between_the_servers_word_and_the_commit_has_it_sent_under_the_same_id() {
    let post = Post::new().await;
    let url = format!("smtp://{}?tls=none", post.server.address);
    let work = || {
        App::command("work --lease 1s --heartbeat 300ms --poll 50ms".split_whitespace())
            .env("DATABASE_URL", &post.db.url)
            .env("APP_SMTP_URL", &url)
            .env("APP_MAIL_FROM", super::FROM)
            .spawn()
    };
    post.server.state().is_holding = true;
    let job = deposit(ada());
    let id = post.enqueue(&job).await;
    let mut first = work();
    eventually("the mail is taken", || post.server.taken().len() == 1).await;
    first.kill().await;
    post.server.release();
    let mut second = work();
    second.wait_for_line("mail of event").await;

    assert_eq!(post.record(&job).await, ("sent", None, 2));
    assert_eq!(post.job(id).await.0, "completed");
    let taken = post.server.taken();
    let ids: Vec<_> =
        taken.iter().map(|it| parse(&it.data).message_id().unwrap().to_owned()).collect();
    assert_eq!(ids, vec![message_id(&job); 2]);
    for said in [first.output(), second.output()] {
        assert!(!said.contains("ada@example.com"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_settings_of_mail_that_cannot_work_does_not_start() {
    let post = Post::new().await;
    for (url, from, words) in [
        ("smtps://ada:hunter2@mail.example", "", "APP_SMTP_URL needs APP_MAIL_FROM"),
        ("smtps://ada:hunter2@mail.example/?tls=no", super::FROM, "APP_SMTP_URL may end in"),
        ("smtps://mail.example", "hunter2", "APP_MAIL_FROM is not a mailbox"),
    ] {
        let command = App::command(["work"]).env("DATABASE_URL", &post.db.url);
        let (status, said) =
            command.env("APP_SMTP_URL", url).env("APP_MAIL_FROM", from).run().await;
        assert_eq!(status.code(), Some(78), "{said}");
        assert!(said.contains(words) && !said.contains("hunter2"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_hidden_where_jobs_are_shown() {
    let post = Post::new().await;
    run(post.pool(), None).await; // Declares the kinds.
    let id = post.enqueue(&deposit(ada())).await;
    let command = App::command(["jobs", "show", &id.to_string(), "-o", "json"]);
    let (status, said) = command.env("DATABASE_URL", &post.db.url).run().await;
    assert!(status.success() && said.contains(SendTransactionEmail::KIND), "{said}");
    assert!(said.contains("15.00") && !said.contains("ada@example.com"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_whose_job_is_cancelled_or_discarded_has_failed_for_that_reason() {
    for (end, reason) in [
        ("select queue.cancel($1, 'ada', 'why')", "job-cancelled"),
        ("select queue.discard_waiting(array[$1], 'ada', 'why')", "job-discarded"),
    ] {
        let post = Post::new().await;
        let job = deposit(ada());
        let id = post.enqueue(&job).await;
        sqlx::query(end).bind(id.0).execute(post.pool()).await.unwrap();

        assert_eq!(post.record(&job).await, ("failed", Some(reason.to_owned()), 0));
        // Asked for again, it is sent, and the record says so.
        post.enqueue(&job).await;
        post.run().await;
        assert_eq!(post.record(&job).await, ("sent", None, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_was_sent_stays_sent_whatever_ends_a_second_job() {
    let post = Post::new().await;
    let job = deposit(ada());
    post.enqueue(&job).await;
    post.run().await;
    let second = post.enqueue(&job).await;
    let cancel = "select queue.cancel($1, 'ada', 'why')";
    sqlx::query(cancel).bind(second.0).execute(post.pool()).await.unwrap();

    assert_eq!(post.record(&job).await, ("sent", None, 1));
}
