//! The schema's migrations, and `app migrate`.

use std::collections::BTreeSet;

use sqlx::PgPool;
use surety::db::{self, MigrationPatience, SchemaState};

use crate::support::{App, AppCommand, Binary as _, TestDb};

/// Everything in the schema that a migration can make, one line each.
async fn objects(pool: &PgPool) -> BTreeSet<String> {
    let lines: Vec<String> = sqlx::query_scalar(
        "with ours as (select oid, nspname from pg_namespace
                       where nspname in ('queue', 'payments', 'bank', 'identity'))
         select 'schema ' || nspname from ours
         union all
         select concat_ws(' ', 'relation', c.oid::regclass, c.relkind, c.reloptions)
         from pg_class c join ours on ours.oid = c.relnamespace
         union all
         select concat_ws(' ', 'column', c.oid::regclass, a.attname, a.atttypid::regtype,
                          a.attnotnull, pg_get_expr(d.adbin, d.adrelid))
         from pg_attribute a
         join pg_class c on c.oid = a.attrelid join ours on ours.oid = c.relnamespace
         left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
         where a.attnum > 0
         union all
         select concat_ws(' ', 'index', pg_get_indexdef(i.indexrelid))
         from pg_index i
         join pg_class c on c.oid = i.indrelid
         join ours on ours.oid = c.relnamespace
         union all
         select concat_ws(' ', 'constraint', k.conrelid::regclass, k.conname,
                          pg_get_constraintdef(k.oid))
         from pg_constraint k join ours on ours.oid = k.connamespace
         union all
         select concat_ws(' ', 'function', p.oid::regprocedure, md5(p.prosrc))
         from pg_proc p join ours on ours.oid = p.pronamespace
         union all
         select concat_ws(' ', 'trigger', pg_get_triggerdef(t.oid))
         from pg_trigger t
         join pg_class c on c.oid = t.tgrelid
         join ours on ours.oid = c.relnamespace
         where not t.tgisinternal
         union all
         select concat_ws(' ', 'type', t.oid::regtype, t.typtype)
         from pg_type t join ours on ours.oid = t.typnamespace",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    lines.into_iter().collect()
}

#[tokio::test]
async fn every_migration_can_be_undone_and_applied_again() {
    let db = TestDb::without_schema().await;
    let applied = db::migrate(&db.pool).await.unwrap();
    let before = objects(&db.pool).await;
    assert!(before.contains("schema queue") && before.contains("schema payments"));

    // One by one, so that each finds the schema as it left it.
    for version in applied.iter().rev() {
        let undone =
            db::revert_to(&db.pool, version - 1, MigrationPatience::default()).await.unwrap();
        assert_eq!(undone, [*version]);
    }
    assert_eq!(objects(&db.pool).await, BTreeSet::new());
    assert_eq!(
        db::schema_state(&db.pool).await.unwrap(),
        SchemaState::Outdated { missing: applied.len() }
    );

    assert_eq!(db::migrate(&db.pool).await.unwrap(), applied);
    assert_eq!(objects(&db.pool).await, before);
    assert_eq!(db::schema_state(&db.pool).await.unwrap(), SchemaState::Current);
}

#[tokio::test]
async fn of_five_processes_that_migrate_at_once_one_applies() {
    let db = TestDb::without_schema().await;
    let processes: Vec<App> = (0..5).map(|_| migrate(&db.url, &["run"]).spawn()).collect();
    let mut applied = 0;
    let mut idle = 0;
    for mut process in processes {
        let status = process.wait_for_exit().await;
        assert!(status.success(), "{}", process.output());
        applied += process.lines().iter().filter(|line| line.starts_with("applied ")).count();
        idle += usize::from(process.output().contains("nothing to do"));
    }
    assert_eq!(applied, db::migration_status(&db.pool).await.unwrap().len());
    assert_eq!(idle, 4);
}

#[tokio::test]
async fn status_says_what_is_applied_and_what_is_not() {
    let db = TestDb::without_schema().await;
    let (status, output) = migrate(&db.url, &["status", "-o", "json"]).run().await;
    assert!(status.success(), "{output}");
    let rows: serde_json::Value = serde_json::from_str(&output).unwrap();
    assert!(rows.as_array().unwrap().iter().all(|row| row["state"] == "pending"), "{rows}");

    db::migrate(&db.pool).await.unwrap();
    sqlx::query("update _sqlx_migrations set checksum = '' where version = 1")
        .execute(&db.pool)
        .await
        .unwrap();
    sqlx::query(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
         values (9999, 'of the future', true, '', 0)",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let (_, output) = migrate(&db.url, &["status"]).run().await;
    let state_of = |version: &str| {
        let line = output.lines().find(|line| line.trim_start().starts_with(version)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(state_of("1 "), "changed");
    assert_eq!(state_of("2 "), "applied");
    assert_eq!(state_of("9999 "), "unknown");
}

#[tokio::test]
async fn nothing_is_undone_without_consent() {
    let db = TestDb::new().await;
    let (status, output) = migrate(&db.url, &["revert"]).run().await;
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("--yes"), "{output}");
    let (status, output) = migrate(&db.url, &["revert", "--to", "0", "--dry-run"]).run().await;
    assert!(status.success() && output.contains("to undo  1"), "{output}");
    assert_eq!(db::schema_state(&db.pool).await.unwrap(), SchemaState::Current);

    let (status, output) = migrate(&db.url, &["revert", "--yes"]).run().await;
    assert!(status.success(), "{output}");
    assert_eq!(db::schema_state(&db.pool).await.unwrap(), SchemaState::Outdated { missing: 1 });
}

#[tokio::test]
async fn a_migration_does_not_queue_behind_a_lock_for_ever() {
    let db = TestDb::new().await;
    let mut reader = db.pool.begin().await.unwrap();
    // A table that the newest migration changes, so that nothing is undone before.
    sqlx::query("select from queue.jobs").fetch_all(&mut *reader).await.unwrap();

    let revert = ["revert", "--to", "0", "--yes", "--lock-timeout", "50ms", "--wait", "1s"];
    let mut locked_out = migrate(&db.url, &revert).spawn();
    let status = locked_out.wait_for_exit().await;
    assert_eq!(status.code(), Some(1), "{}", locked_out.output());
    assert!(locked_out.output().contains("locked by another session"), "{}", locked_out.output());
    assert!(objects(&db.pool).await.contains("schema payments"));

    // With more patience it comes through once the reader is done.
    let revert = ["revert", "--to", "0", "--yes", "--lock-timeout", "50ms", "--wait", "30s"];
    let mut patient = migrate(&db.url, &revert).spawn();
    patient.wait_for_line("to undo").await;
    reader.rollback().await.unwrap();
    assert!(patient.wait_for_exit().await.success(), "{}", patient.output());
}

fn migrate(url: &str, args: &[&str]) -> AppCommand {
    App::command([&["migrate"], args].concat()).env("DATABASE_URL", url)
}
