//! TLS to the mail server, and the password that goes through it.

use super::server::{MailServer, PASSWORD, Tls, USER};
use super::{FROM, Post, ada, args, deposit};
use crate::support::{App, Binary as _, scratch_dir};

/// The URL of a server whose certificate is for `localhost`, with these words before the `@`.
fn url(scheme: &str, server: &MailServer, user: &str, password: &str) -> String {
    let mut url = url::Url::parse(&format!("{scheme}://localhost")).unwrap();
    url.set_port(Some(server.address.port())).unwrap();
    url.set_username(user).unwrap();
    url.set_password(Some(password)).unwrap();
    url.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_to_a_server_without_the_tls_that_is_required() {
    let mut post = Post::new().await;
    post.args = args(&format!("smtp://ada:secret@{}", post.server.address));
    let id = post.enqueue(&deposit(ada())).await;
    post.run().await;
    let (state, _, errors) = post.job(id).await;
    assert_eq!(state, "retryable");
    assert!(errors[0].contains("does not offer STARTTLS"), "{errors:?}");
    assert_eq!(post.server.state().senders, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_to_a_server_that_nobody_vouches_for() {
    for (tls, scheme) in [(Tls::Upgraded, "smtp"), (Tls::FromTheBeginning, "smtps")] {
        let mut post = Post::new().await;
        post.server = MailServer::start_with(tls);
        post.args = args(&url(scheme, &post.server, USER, PASSWORD));
        let id = post.enqueue(&deposit(ada())).await;
        post.run().await;
        let (state, _, errors) = post.job(id).await;
        assert_eq!(state, "retryable", "{tls:?}");
        assert!(errors[0].contains("certificate"), "{tls:?}: {errors:?}");
        assert!(!errors[0].contains("hunter2"), "{tls:?}: {errors:?}");
        assert_eq!(post.server.state().senders, 0, "{tls:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_signs_in_to_a_server_that_is_vouched_for_and_shows_no_password() {
    for (tls, scheme) in [(Tls::Upgraded, "smtp"), (Tls::FromTheBeginning, "smtps")] {
        let mut post = Post::new().await;
        post.server = MailServer::start_with(tls);
        let dir = scratch_dir();
        let trusted = dir.join("ca.pem");
        std::fs::write(&trusted, &post.server.certificate).unwrap();
        let url_file = dir.join("smtp-url");
        std::fs::write(&url_file, url(scheme, &post.server, USER, PASSWORD) + "\n").unwrap();
        let job = deposit(ada());
        post.enqueue(&job).await;
        let mut app = App::command(["work", "--poll", "50ms"])
            .env("DATABASE_URL", &post.db.url)
            .env("APP_SMTP_URL_FILE", &url_file)
            .env("APP_MAIL_FROM", FROM)
            .env("APP_LOG", "trace")
            .env("SSL_CERT_FILE", &trusted)
            .spawn();
        app.wait_for_line("mail of event").await;
        assert_eq!(post.record(&job).await, ("sent", None, 1), "{tls:?}");
        assert_eq!(post.only_mail().user.as_deref(), Some(USER), "{tls:?}");
        app.kill().await;
        let said = app.output();
        assert!(!said.contains("hunter2") && !said.contains("ada@example.com"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_ends_no_mail() {
    let mut post = Post::new().await;
    post.server = MailServer::start_with(Tls::Upgraded);
    let dir = scratch_dir();
    let trusted = dir.join("ca.pem");
    std::fs::write(&trusted, &post.server.certificate).unwrap();
    let job = deposit(ada());
    let id = post.enqueue(&job).await;
    let mut app = App::command(["work", "--poll", "50ms"])
        .env("DATABASE_URL", &post.db.url)
        .env("APP_SMTP_URL", url("smtp", &post.server, USER, "hunter3"))
        .env("APP_MAIL_FROM", FROM)
        .env("SSL_CERT_FILE", &trusted)
        .spawn();
    app.wait_for_line("it answered 535").await;
    app.kill().await;
    assert_eq!(post.job(id).await.0, "retryable");
    assert!(post.records(&job).await.is_empty());
    assert!(!app.output().contains("hunter3"), "{}", app.output());
}
