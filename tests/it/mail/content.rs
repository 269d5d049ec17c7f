//! What is in a mail, and what cannot get into it.

use std::time::Duration;

use mail_parser::MimeHeaders as _;
use surety::ids::EventId;
use surety::jobs::mail_delivery::Recipient;
use surety::jobs::{SendNotice, SendTransactionEmail};
use surety::notices::templates::Outcome;
use surety::notices::{Subject, SubjectKind};
use surety::queue::NewJob;
use uuid::Uuid;

use super::{Post, ada, deposit, enqueue_in, message_id, parse};
use crate::support::ledger::money;

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_says_what_became_of_an_order_as_text_and_as_html() {
    let post = Post::new().await;
    let job = deposit(ada());
    let id = post.enqueue(&job).await;
    post.run().await;

    assert_eq!(post.job(id).await, ("completed".to_owned(), 1, vec![]));
    assert_eq!(post.record(&job).await, ("sent", None, 1));
    let mail = post.only_mail();
    assert_eq!(mail.from, "no-reply@surety.example");
    assert_eq!(mail.to, ["ada@example.com"]);
    assert!(mail.data.is_ascii());
    let parsed = parse(&mail.data);
    assert_eq!(parsed.subject(), Some("Deposit of 15.00 EUR completed"));
    let address = |of: Option<&mail_parser::Address<'_>>| {
        let first = of.unwrap().first().unwrap();
        (first.name().map(str::to_owned), first.address().unwrap().to_owned())
    };
    let (name, from) = address(parsed.from());
    assert_eq!((name.as_deref(), from.as_str()), (Some("Surety"), "no-reply@surety.example"));
    assert_eq!(address(parsed.to()), (None, "ada@example.com".to_owned()));
    assert_eq!(parsed.message_id(), Some(message_id(&job).as_str()));
    let recorded = post.records(&job).await.remove(0).message_id;
    assert_eq!(recorded, Some(format!("<{}>", message_id(&job))));
    assert!(parsed.date().is_some());
    let automatic = parsed.header_raw("Auto-Submitted").map(str::trim);
    assert_eq!(automatic, Some("auto-generated"));
    assert_eq!(parsed.content_type().unwrap().subtype(), Some("alternative"));
    assert_eq!((parsed.text_body_count(), parsed.html_body_count()), (1, 1));
    for body in [parsed.body_text(0).unwrap(), parsed.body_html(0).unwrap()] {
        for words in ["Deposit", "15.00 EUR", "Completed", &job.about.id] {
            assert!(body.contains(words), "{words}: {body}");
        }
    }
    assert!(parsed.body_html(0).unwrap().contains("prefers-color-scheme: dark"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_wrote_adds_no_header_no_recipient_and_no_markup() {
    let post = Post::new().await;
    let evil = "x\r\nBcc: eve@example.com\r\n\r\n.\r\nMAIL FROM:<eve@example.com>\r\n\
                <script>alert('1')</script><img src=\"//evil.example\">";
    let about = Subject { kind: SubjectKind::Transaction, id: evil.to_owned() };
    let outcome = Outcome::Failed { reason: Some(evil.to_owned()) };
    let event = EventId(Uuid::now_v7());
    let job = SendTransactionEmail::new(event, ada(), about, money("1500 JPY"), outcome);
    post.enqueue(&job).await;
    post.run().await;

    let mail = post.only_mail();
    assert_eq!(mail.to, ["ada@example.com"]);
    assert_eq!(post.server.state().senders, 1);
    let parsed = parse(&mail.data);
    assert_eq!(parsed.subject(), Some("Transaction of 1500 JPY failed"));
    assert!(parsed.bcc().is_none() && parsed.cc().is_none());
    let html = parsed.body_html(0).unwrap();
    assert!(!html.contains("<script") && !html.contains("<img"), "{html}");
    assert!(html.contains("&#60;script&#62;"), "{html}");
    let text = parsed.body_text(0).unwrap();
    assert!(!text.lines().any(|line| line.starts_with("Bcc") || line == "."), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_of_other_letters_gets_mail_and_a_name_of_them_needs_a_server_that_knows_them() {
    let post = Post::new().await;
    let to = |email: &str| Recipient { email: email.to_owned(), ..ada() };
    let ascii = deposit(to("a@xn--bcher-kva.example"));
    let unicode = deposit(to("zoë@example.com"));
    post.enqueue(&ascii).await;
    let id = post.enqueue(&unicode).await;
    post.run().await;

    assert_eq!(post.only_mail().to, ["a@xn--bcher-kva.example"]);
    assert_eq!(post.record(&ascii).await, ("sent", None, 1));
    let reason = Some("needs-smtputf8".to_owned());
    assert_eq!(post.record(&unicode).await, ("failed", reason, 1));
    assert_eq!(post.job(id).await.0, "completed", "another attempt would change nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_none_reaches_no_server() {
    let post = Post::new().await;
    let hostile = ["ada@example.com\r\nBcc: eve@example.com", "a@b, eve@example.com", "", "ada"];
    for email in hostile {
        let job = deposit(Recipient { email: email.to_owned(), ..ada() });
        post.enqueue(&job).await;
        post.run().await;
        let reason = Some("address".to_owned());
        assert_eq!(post.record(&job).await, ("failed", reason, 1), "{email:?}");
    }
    assert_eq!(post.server.state().connections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_is_told_of_an_endpoint_that_was_disabled() {
    let post = Post::new().await;
    let url = "https://hooks.example/in?<b>".to_owned();
    let days = Duration::from_secs(5 * 24 * 60 * 60);
    let error = Some("it answered 500".to_owned());
    let id = Uuid::now_v7().to_string();
    let job =
        SendNotice::endpoint_disabled(EventId(Uuid::now_v7()), ada(), id.clone(), url, days, error);
    enqueue_in(post.pool(), NewJob::new(&job).unwrap()).await;
    post.run().await;

    let mail = post.only_mail();
    let parsed = parse(&mail.data);
    assert_eq!(parsed.subject(), Some("Your webhook endpoint is disabled"));
    let text = parsed.body_text(0).unwrap();
    for words in ["for 5 days", "https://hooks.example/in?<b>", "it answered 500", &id] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(parsed.body_html(0).unwrap().contains("in?&#60;b&#62;"));
}
