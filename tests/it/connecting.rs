//! The way to the database as people write it, and what they are told when it leads nowhere.

use std::process::ExitStatus;

use url::Url;

use crate::support::{App, Binary as _, TestDb, scratch_dir};

async fn status_by(url: &str) -> (ExitStatus, String) {
    App::command(["migrate", "status"]).env("DATABASE_URL", url).run().await
}

/// The URL of a test's database in parts: the server's host, if it has one, port and user.
fn parts(db: &TestDb) -> (String, String) {
    let options = db.pool.connect_options();
    let host = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => options.get_host().to_owned(),
    };
    (host, options.get_port().to_string())
}

#[tokio::test]
async fn each_cause_is_told_with_its_own_way_out() {
    let db = TestDb::new().await;
    let nobody_speaks = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = nobody_speaks.local_addr().unwrap();
    let answering = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        while let Ok((mut stream, _)) = nobody_speaks.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let no_database = db.url.replace(db.pool.connect_options().get_database().unwrap(), "absent");
    for (url, fix) in [
        ("postgres://nobody@127.0.0.1:1/none".to_owned(), "start it, or correct"),
        ("postgres://nobody@no-host.invalid/none".to_owned(), "correct the host"),
        (format!("postgres://nobody@{other}/none"), "no PostgreSQL"),
        (no_database, "createdb"),
    ] {
        let (status, said) = status_by(&url).await;
        assert_eq!(status.code(), Some(7), "{url}: {said}");
        assert!(said.contains("fix:") && said.contains(fix), "{url}: {said}");
    }
    answering.abort();
}

#[tokio::test]
async fn a_database_is_named_as_libpq_names_it() {
    let db = TestDb::new().await;
    let (host, port) = parts(&db);
    let options = db.pool.connect_options();
    let (user, database) = (options.get_username(), options.get_database().unwrap());
    let password = Url::parse(&db.url).unwrap().password().map(str::to_owned);
    let password = password.unwrap_or_default();
    let (status, said) =
        status_by(&format!("postgres://{user}:{password}@/{database}?host={host}&port={port}"))
            .await;
    assert!(status.success(), "{said}");
    let by_variables = App::command(["migrate", "status"])
        .env("PGHOST", &host)
        .env("PGPORT", &port)
        .env("PGUSER", user)
        .env("PGPASSWORD", &password)
        .env("PGDATABASE", database);
    let (status, said) = by_variables.run().await;
    assert!(status.success(), "{said}");

    let nothing = scratch_dir();
    let unnamed = App::command(["migrate", "status"]).env("APP_DATA_DIR", nothing.as_os_str());
    let (status, said) = unnamed.run().await;
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(said.contains("no database is named") && said.contains("DATABASE_URL"), "{said}");
    let (status, said) = status_by("postgres://u@h1,h2/d").await;
    assert!(status.code() == Some(78) && said.contains("several hosts"), "{said}");
}

#[tokio::test]
async fn a_file_of_another_system_is_read_like_one_of_this() {
    let db = TestDb::new().await;
    let dir = scratch_dir();
    let file = dir.join("url");
    std::fs::write(&file, format!("\u{feff}{}\r\n", db.url)).unwrap();
    let command = App::command(["migrate", "status"]).env("DATABASE_URL_FILE", &file);
    let (status, said) = command.run().await;
    assert!(status.success(), "{said}");
}

#[tokio::test]
async fn a_bad_setting_is_told_by_variable_and_flag_with_an_example() {
    for (command, variable, value, words) in [
        (&["work"][..], "APP_WORKER_LEASE", "abc", &["--lease", "45s"][..]),
        (&["work"], "APP_WORKER_LEASE", "3000000d", &["--lease", "100 years"]),
        (&["serve"], "APP_LISTEN", ":8000", &["--listen", "127.0.0.1:8000"]),
        (&["serve"], "APP_MAX_CONNECTIONS", "0", &["--max-connections", "1.."]),
        (
            &["serve", "--listen", "127.0.0.1:0"],
            "APP_WEBHOOK_SECRETS",
            "no",
            &["a webhook secret is"],
        ),
    ] {
        let app = App::command(command).env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none");
        let (status, said) = app.env(variable, value).run().await;
        assert_eq!(status.code(), Some(78), "{variable}={value}: {said}");
        for word in words {
            assert!(said.contains(word), "{variable}={value}: no {word:?} in {said}");
        }
    }
}
