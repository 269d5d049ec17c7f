//! `app archives`, and its death at any moment.

use std::time::Duration;

use super::{age, broken, files_in, problems, settled};
use crate::support::ledger::count;
use crate::support::{App, Binary as _, TestDb, wait_for_locks};

async fn run(db: &TestDb, args: &[&str]) -> (Option<i32>, String) {
    let (status, output) =
        App::command([&["archives"], args].concat()).env("DATABASE_URL", &db.url).run().await;
    (status.code(), output)
}

#[tokio::test]
async fn it_asks_first_makes_lists_and_proves() {
    let db = TestDb::new().await;
    let folder = tempfile::tempdir().unwrap();
    settled(&db.pool, 8).await;
    age(&db.pool, 100).await;
    let to = folder.path().to_str().unwrap();
    let create = ["create", "--older-than", "60d", "--to", to, "--per-file", "5", "--reason", "x"];

    let (code, said) = run(&db, &create).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("add --yes"), "{said}");
    let (code, said) = run(&db, &[&create[..], &["--dry-run"]].concat()).await;
    assert!(code == Some(0) && said.contains("8 transfers dated before"), "{said}");
    assert_eq!(files_in(folder.path()).len(), 0);

    let (code, said) = run(&db, &[&create[..], &["--yes"]].concat()).await;
    assert!(code == Some(0) && said.contains("archive 2: 3 transfers"), "{said}");
    let (code, said) = run(&db, &[&create[..], &["--yes"]].concat()).await;
    assert!(code == Some(0) && said.contains("no transfer"), "{said}");
    let (code, said) = run(&db, &["list", "-o", "json"]).await;
    assert!(code == Some(0) && said.contains("\"transfers\":5"), "{said}");

    let files = files_in(folder.path());
    let files: Vec<&str> = files.iter().map(|file| file.to_str().unwrap()).collect();
    let (code, said) = run(&db, &[&["verify"], &files[..]].concat()).await;
    assert!(code == Some(0) && said.contains("from the first archive on"), "{said}");
    let (code, said) = run(&db, &["verify", "--offline", files[1]]).await;
    assert!(code == Some(0) && said.contains("not all archives were given"), "{said}");
    std::fs::write(files[0], "rubbish").unwrap();
    let (code, said) = run(&db, &[&["verify"], &files[..]].concat()).await;
    assert!(code == Some(1) && said.contains("FAIL"), "{said}");
    let (code, said) = run(&db, &["verify", "/nowhere"]).await;
    assert!(code == Some(1) && said.contains("No such file"), "{said}");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_nothing_is_changed() {
    let db = TestDb::new().await;
    settled(&db.pool, 2).await;
    age(&db.pool, 100).await;
    for (args, words) in [
        (&["--older-than", "30d", "--to", "/tmp"][..], "less than 31 days"),
        (&["--older-than", "rubbish", "--to", "/tmp"], "invalid value"),
        (&["--older-than", "60d", "--to", "/tmp", "--per-file", "0"], "invalid value"),
        (&["--older-than", "60d", "--to", "/tmp", "--per-file", "1000001"], "invalid value"),
        (&["--older-than", "60d", "--to", "/nowhere/at/all"], "No such file"),
    ] {
        let (code, said) = run(&db, &[&["create", "--yes", "--reason", "x"], args].concat()).await;
        assert!(code != Some(0) && said.contains(words), "{args:?}: {said}");
    }
    assert_eq!(count(&db.pool, "select count(*) from payments.transfers").await, 2);
}

#[tokio::test]
async fn a_command_that_is_killed_at_any_moment_loses_nothing_and_is_gone_on_with() {
    let db = TestDb::new().await;
    let folder = tempfile::tempdir().unwrap();
    settled(&db.pool, 120).await;
    age(&db.pool, 100).await;
    let create = [
        "archives",
        "create",
        "--older-than",
        "60d",
        "--per-file",
        "3",
        "--yes",
        "--reason",
        "x",
        "--to",
    ];
    let to = folder.path().to_str().unwrap();
    for attempt in 0..12 {
        let mut app =
            App::command([&create[..], &[to]].concat()).env("DATABASE_URL", &db.url).spawn();
        tokio::time::sleep(Duration::from_millis(60 + 23 * attempt)).await;
        app.kill().await;
        assert_eq!(broken(&db.pool).await, [""; 0]);
    }
    let (status, said) =
        App::command([&create[..], &[to]].concat()).env("DATABASE_URL", &db.url).run().await;
    assert!(status.success(), "{said}");
    let archived = "select coalesce(sum(transfers), 0)::bigint from payments.archives";
    assert_eq!(count(&db.pool, archived).await, 120);
    assert_eq!(count(&db.pool, "select count(*) from payments.entries").await, 0);
    // Those that no commit knows of are files that the database does not know.
    let names: Vec<String> =
        sqlx::query_scalar("select file_name from payments.archives order by number")
            .fetch_all(&db.pool)
            .await
            .unwrap();
    let files: Vec<_> = names.iter().map(|name| folder.path().join(name)).collect();
    assert_eq!(problems(&db.pool, &files).await, [""; 0]);
}

#[tokio::test]
async fn a_command_that_is_killed_between_its_file_and_its_commit_leaves_a_file_that_nobody_knows()
{
    let db = TestDb::new().await;
    let folder = tempfile::tempdir().unwrap();
    settled(&db.pool, 8).await;
    age(&db.pool, 100).await;
    let to = folder.path().to_str().unwrap();
    let create = ["create", "--older-than", "60d", "--to", to, "--yes", "--reason", "x"];
    let mut held = db.pool.begin().await.unwrap();
    sqlx::query("lock table payments.archived_transactions").execute(&mut *held).await.unwrap();
    let mut app =
        App::command([&["archives"], &create[..]].concat()).env("DATABASE_URL", &db.url).spawn();
    wait_for_locks(&db.pool, 1).await;
    app.kill().await;
    held.rollback().await.unwrap();
    let left_over = files_in(folder.path());
    assert_eq!(left_over.len(), 1);
    assert_eq!(count(&db.pool, "select count(*) from payments.transfers").await, 8);
    let found = problems(&db.pool, &left_over).await.join("; ");
    assert!(found.contains("the database has no archive 1"), "{found}");

    let (code, said) = run(&db, &create).await;
    assert_eq!(code, Some(0), "{said}");
    let files = files_in(folder.path());
    assert_eq!(files.len(), 2, "another hash, so another name");
    let known: Vec<_> = files.into_iter().filter(|file| !left_over.contains(file)).collect();
    assert_eq!(problems(&db.pool, &known).await, [""; 0]);
    assert_eq!(broken(&db.pool).await, [""; 0]);
}

#[tokio::test]
async fn several_commands_at_once_in_one_folder_make_one_archive_after_another() {
    let (one, other) = (TestDb::new().await, TestDb::new().await);
    let folder = tempfile::tempdir().unwrap();
    for db in [&one, &other] {
        settled(&db.pool, 40).await;
        age(&db.pool, 100).await;
    }
    let create = |db: &TestDb| {
        let to = folder.path().to_str().unwrap();
        let create = [
            "archives",
            "create",
            "--older-than",
            "60d",
            "--to",
            to,
            "--per-file",
            "4",
            "--yes",
            "--reason",
            "x",
        ];
        App::command(create).env("DATABASE_URL", &db.url).spawn()
    };
    let mut running = [create(&one), create(&one), create(&other), create(&other)];
    for app in &mut running {
        assert!(app.wait_for_exit().await.success(), "{}", app.output());
    }
    for db in [&one, &other] {
        let names = "select file_name from payments.archives order by number";
        let names: Vec<String> = sqlx::query_scalar(names).fetch_all(&db.pool).await.unwrap();
        assert_eq!(names.len(), 10);
        let files: Vec<_> = names.iter().map(|name| folder.path().join(name)).collect();
        assert_eq!(problems(&db.pool, &files).await, [""; 0]);
        assert_eq!(broken(&db.pool).await, [""; 0]);
        assert_eq!(count(&db.pool, "select count(*) from payments.entries").await, 0);
    }
    assert_eq!(files_in(folder.path()).len(), 20);
}
