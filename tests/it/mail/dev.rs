//! Mail of `app dev`: files, and where they are.

use std::os::unix::fs::PermissionsExt as _;

use sqlx::{Connection as _, PgConnection};
use surety::queue::NewJob;
use surety::queue::enqueue::enqueue;

use super::{ada, deposit, parse};
use crate::support::{App, Binary as _, scratch_dir};

#[tokio::test]
async fn app_dev_keeps_mails_as_files_and_says_where() {
    let scratch = scratch_dir();
    let data_dir = scratch.join("data");
    let dir = data_dir.to_str().unwrap();
    let mut app =
        App::command(["dev", "--no-download", "--data-dir", dir, "--listen", "127.0.0.1:0"])
            .spawn();
    app.wait_for_line("Ready in").await;
    let mails = data_dir.join("mails");
    let place = format!("Mail        kept as files in {}", mails.display());
    assert!(app.output().contains(&place), "{}", app.output());
    let mode = std::fs::metadata(&mails).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);

    let line = app.wait_for_line("psql ").await;
    let url = line.split("psql ").nth(1).unwrap().split_whitespace().next().unwrap();
    let mut conn = PgConnection::connect(url).await.unwrap();
    let job = deposit(ada());
    enqueue(&mut conn, NewJob::new(&job).unwrap()).await.unwrap();
    let line = app.wait_for_line("a mail is kept as ").await;
    let files: Vec<_> = std::fs::read_dir(&mails).unwrap().map(|it| it.unwrap().path()).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    assert!(line.contains(&file.display().to_string()), "{line}");
    assert!(file.extension().is_some_and(|it| it == "eml"));
    let bytes = std::fs::read(file).unwrap();
    let mail = parse(&bytes);
    assert_eq!(mail.subject(), Some("Deposit of 15.00 EUR completed"));
    assert!(mail.message_id().unwrap().ends_with("@surety.localhost"));
}
