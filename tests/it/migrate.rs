//! The schemas' migrations, and `app migrate`.

use std::collections::BTreeSet;
use std::path::Path;

use sqlx::PgPool;
use sqlx::migrate::Migrator;
use surety::db::{self, APP, SCHEMAS};
use surety::queue::schema::{Patience, QUEUE, Schema, SchemaState, Target};

use crate::support::{App, AppCommand, Binary as _, TestDb};

/// Everything in the schema that a migration can make, one line each.
async fn objects(pool: &PgPool) -> BTreeSet<String> {
    let lines: Vec<String> = sqlx::query_scalar(
        "with ours as (select oid, nspname from pg_namespace
                       where nspname in ('queue', 'payments', 'bank', 'identity',
                                         'api', 'rate_limits', 'audit', 'surety'))
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

fn after(schema: &'static Schema, version: i64) -> [Target; 1] {
    [Target { schema, version }]
}

fn everything() -> [Target; 2] {
    SCHEMAS.map(|schema| Target { schema, version: 0 })
}

#[tokio::test]
async fn every_migration_can_be_undone_and_applied_again() {
    let db = TestDb::without_schema().await;
    let applied = db::migrate(&db.pool).await.unwrap();
    let before = objects(&db.pool).await;
    for schema in ["queue", "payments", "surety"] {
        assert!(before.contains(&format!("schema {schema}")));
    }

    // One by one, so that each finds the schema as it left it.
    for schema in SCHEMAS.into_iter().rev() {
        let versions: Vec<i64> = schema.migrations.iter().map(|it| it.version()).collect();
        for (index, version) in versions.iter().enumerate().rev() {
            let before = index.checked_sub(1).map_or(0, |before| versions[before]);
            let target = after(schema, before);
            let undone = db::revert(&db.pool, &target, Patience::default()).await.unwrap();
            assert_eq!(undone, [format!("{}/{version}", schema.name)]);
        }
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

#[test]
fn every_file_of_the_migrations_folder_is_in_the_binary() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let names = |folder: &Path| -> BTreeSet<String> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
        files.map(|entry| entry.file_name().into_string().unwrap()).collect()
    };
    let mut listed = BTreeSet::new();
    for migration in APP.migrations {
        listed.extend(["up", "down"].map(|way| format!("{}.{way}.sql", migration.name)));
        listed.extend(migration.guard.map(|_| format!("{}.guard.sql", migration.name)));
    }
    assert_eq!(listed, names(&folder));
    let functions: BTreeSet<String> =
        names(&folder.join("functions")).iter().map(|name| format!("functions/{name}")).collect();
    assert_eq!(
        APP.files.iter().map(|file| file.name.to_owned()).collect::<BTreeSet<_>>(),
        functions
    );
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
    assert_eq!(applied, db::schema_status(&db.pool).await.unwrap().len());
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
    sqlx::raw_sql(
        "update surety.schema_migrations set checksum = '' where version = 1;
         insert into surety.schema_migrations (version, name, checksum, applied_by)
         values (9999, 'of the future', '', '9.0.0');
         update queue.schema_files set checksum = '' where name = 'functions/claim.sql';
         update queue.schema_files set checksum = '', applied_by = '9.0.0'
         where name = 'functions/cancel.sql';",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let (_, output) = migrate(&db.url, &["status"]).run().await;
    let state_of = |schema: &str, version: &str, name: &str| {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let mut lines = output.lines().map(words);
        let line =
            lines.find(|line| line[..2] == [schema, version] && line.join(" ").contains(name));
        line.unwrap_or_else(|| panic!("{schema}/{version} {name}: {output}"))[2].clone()
    };
    assert_eq!(state_of("app", "1", "payments"), "changed");
    assert_eq!(state_of("app", "2", "identity"), "applied");
    assert_eq!(state_of("app", "9999", "of the future"), "newer");
    assert_eq!(state_of("queue", "1", "jobs"), "applied");
    assert_eq!(state_of("queue", "-", "functions/claim.sql"), "changed");
    assert_eq!(state_of("queue", "-", "functions/cancel.sql"), "newer");
    assert!(!output.contains("functions/rescue.sql"), "{output}");
}

#[tokio::test]
async fn a_function_that_has_changed_is_applied_again() {
    let db = TestDb::new().await;
    sqlx::raw_sql(
        "create or replace function queue.kept_since(parent regclass) returns timestamptz
         language sql stable parallel safe as 'select null::timestamptz';
         update queue.schema_files set checksum = '' where name = 'functions/kept_since.sql';",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let outdated = SchemaState::Outdated { missing: 1 };
    assert_eq!(db::schema_state(&db.pool).await.unwrap(), outdated);
    let list = App::command(["jobs", "list"]).env("DATABASE_URL", &db.url);
    let (status, output) = list.run().await;
    assert_eq!(status.code(), Some(8), "{output}");
    assert!(output.contains("run 'app migrate run'"), "{output}");

    let (status, output) = migrate(&db.url, &["run"]).run().await;
    assert!(status.success(), "{output}");
    assert_eq!(output.trim(), "applied  queue/functions/kept_since.sql");
    let kept: bool = sqlx::query_scalar("select queue.kept_since('queue.attempts') is not null")
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert!(kept);
}

#[tokio::test]
async fn a_database_of_before_the_first_release_is_refused_in_one_sentence_and_left_alone() {
    let db = TestDb::without_schema().await;
    sqlx::raw_sql(
        "create schema queue;
         create table queue.jobs (id bigint);
         create table _sqlx_migrations (version bigint primary key);
         insert into _sqlx_migrations select generate_series(1, 15);",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let before = objects(&db.pool).await;
    let sentence = "the schema queue was made before the first release, or by somebody else, and \
                    cannot be migrated: use another database, or start 'app dev --fresh' if it is \
                    that of 'app dev'";
    for command in [&["migrate", "run"][..], &["migrate", "status"], &["jobs", "list"], &["serve"]]
    {
        let command = App::command(command).env("DATABASE_URL", &db.url);
        let (status, output) = command.env("APP_LISTEN", "127.0.0.1:0").run().await;
        assert_eq!(status.code(), Some(8), "{output}");
        assert!(output.contains(sentence), "{output}");
    }
    // Those of payments alone, beside a queue that another program has migrated.
    let other = TestDb::without_schema().await;
    sqlx::raw_sql("create schema payments; create table payments.accounts ()")
        .execute(&other.pool)
        .await
        .unwrap();
    let (_, output) = migrate(&other.url, &["run"]).run().await;
    assert!(output.contains("the schema payments was made before"), "{output}");

    assert_eq!(objects(&db.pool).await, before);
    assert!(!objects(&other.pool).await.contains("schema queue"), "half a schema");
}

#[tokio::test]
async fn another_programs_migrations_run_before_and_after_ours() {
    static STRANGERS: Migrator = sqlx::migrate!("crates/queue/tests/stranger/migrations");
    for stranger_is_first in [true, false] {
        let db = TestDb::without_schema().await;
        if stranger_is_first {
            STRANGERS.run(&db.pool).await.unwrap();
        }
        let (status, output) = migrate(&db.url, &["run"]).run().await;
        assert!(status.success(), "{output}");
        STRANGERS.run(&db.pool).await.unwrap();
        assert_eq!(db::schema_state(&db.pool).await.unwrap(), SchemaState::Current);

        let (status, output) = migrate(&db.url, &["revert", "--to", "0", "--yes"]).run().await;
        assert!(status.success(), "{output}");
        STRANGERS.run(&db.pool).await.unwrap();
        sqlx::query("select from greetings").execute(&db.pool).await.unwrap();
    }
}

#[tokio::test]
async fn nothing_is_undone_without_consent() {
    let db = TestDb::new().await;
    let (status, output) = migrate(&db.url, &["revert"]).run().await;
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("--yes"), "{output}");
    let (status, output) = migrate(&db.url, &["revert", "--to", "0", "--dry-run"]).run().await;
    assert!(status.success() && output.contains("to undo  queue/1"), "{output}");
    assert_eq!(db::schema_state(&db.pool).await.unwrap(), SchemaState::Current);

    let (status, output) = migrate(&db.url, &["revert", "--yes"]).run().await;
    let newest = APP.migrations.last().expect("there are some").version();
    assert!(status.success() && output.contains(&format!("undone   app/{newest}")), "{output}");
    let (status, output) = migrate(&db.url, &["revert", "--to", "app/3", "--yes"]).run().await;
    assert!(status.success() && output.contains("undone   app/4"), "{output}");
    let (status, output) = migrate(&db.url, &["revert", "--steps", "4", "--yes"]).run().await;
    assert!(status.success(), "{output}");
    let undone: Vec<&str> = output.lines().filter(|line| line.starts_with("undone")).collect();
    assert_eq!(undone, ["app/3", "app/2", "app/1", "queue/8"].map(|it| format!("undone   {it}")));
    for wrong in ["99", "queue", "queue/-1", "shop/1"] {
        let (status, output) = migrate(&db.url, &["revert", "--to", wrong]).run().await;
        assert_eq!(status.code(), Some(2), "{output}");
    }
}

/// What is money, or evidence of it, one at a time, and what the refusal says of it.
const MONEY: [(&str, &str); 8] = [
    ("select audit.log_transaction('t', '{}')", "audit.entries says who did what"),
    (
        "insert into payments.accounts (id, kind, owner_id, currency, floor)
         values (gen_random_uuid(), 'wallet', gen_random_uuid(), 'EUR', 0)",
        "payments.accounts holds wallets",
    ),
    (
        "insert into payments.transactions
           (transaction_id, source_account, destination_account, amount, currency, body)
         values ('t', 'a', 'b', 1, 'EUR', '')",
        "payments.transactions holds transactions",
    ),
    (
        "insert into payments.orders
           (id, kind, owner_id, source_account_id, destination_account_id, amount, currency)
         values (gen_random_uuid(), 'deposit', gen_random_uuid(), gen_random_uuid(),
                 gen_random_uuid(), 1, 'EUR')",
        "payments.orders holds orders",
    ),
    (
        "alter table payments.entries disable trigger user;
         insert into payments.entries
           (account_id, account_version, transfer_id, amount, balance_after)
         values (gen_random_uuid(), 1, gen_random_uuid(), 1, 1)",
        "payments.entries holds ledger entries",
    ),
    (
        "insert into payments.archives (number, dated_before, transfers, file_name, file_sha256)
         values (1, now() - interval '31 days', 1, 'x', sha256('x'))",
        "payments.archives says which transfers were moved into files",
    ),
    (
        "insert into bank.calls (effect_key, operation, direction, amount, currency)
         values ('e', 'send', 'deposit', 1, 'EUR')",
        "bank.calls holds what was said to the bank",
    ),
    ("insert into queue.jobs (kind) values ('k')", "queue.jobs holds unfinished jobs"),
];

#[tokio::test]
async fn money_is_not_dropped_and_a_dry_run_says_so_before_anything_is_touched() {
    for (made, reason) in MONEY {
        let db = TestDb::new().await;
        sqlx::raw_sql(made).execute(&db.pool).await.unwrap();
        let before = objects(&db.pool).await;
        for consent in ["--dry-run", "--yes"] {
            let (status, output) = migrate(&db.url, &["revert", "--to", "0", consent]).run().await;
            assert_eq!(status.code(), Some(5), "{output}");
            assert!(output.contains("nothing was undone"), "{output}");
            assert!(output.contains(reason), "{reason}: {output}");
        }
        let refused = db::revert(&db.pool, &everything(), Patience::default()).await;
        assert!(refused.is_err(), "{reason}");
        assert_eq!(objects(&db.pool).await, before);
        assert_eq!(db::schema_state(&db.pool).await.unwrap(), SchemaState::Current);
    }
}

#[tokio::test]
async fn what_holds_no_money_is_undone_beside_it() {
    let db = TestDb::new().await;
    // What the audit log holds is evidence, too, and lies above it, as what is in archives does.
    let lies_above =
        |says: &str| says.starts_with("audit.") || says.starts_with("payments.archives");
    for (made, _) in MONEY.into_iter().filter(|(_, says)| !lies_above(says)) {
        sqlx::raw_sql(made).execute(&db.pool).await.unwrap();
    }
    let (status, output) = migrate(&db.url, &["revert", "--to", "app/4", "--yes"]).run().await;
    assert!(status.success(), "{output}");
    let (status, output) = migrate(&db.url, &["revert", "--to", "queue/4", "--yes"]).run().await;
    assert!(status.success(), "{output}");
    db::migrate(&db.pool).await.unwrap();
    db::revert(&db.pool, &after(&APP, 4), Patience::default()).await.unwrap();
    db::revert(&db.pool, &after(&QUEUE, 4), Patience::default()).await.unwrap();
}

#[tokio::test]
async fn a_migration_does_not_queue_behind_a_lock_for_ever() {
    let db = TestDb::new().await;
    let mut reader = db.pool.begin().await.unwrap();
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

#[tokio::test]
async fn what_the_database_refuses_comes_with_a_way_out_and_no_line_of_its_source() {
    let db = TestDb::without_schema().await;
    let role = format!("poor_{}", std::process::id());
    let setup = format!("create role {role} login");
    sqlx::raw_sql(sqlx::AssertSqlSafe(setup)).execute(&db.pool).await.unwrap();
    let mut url = url::Url::parse(&db.url).unwrap();
    url.set_username(&role).unwrap();
    for command in [&["run"][..], &["revert", "--to", "0", "--yes"], &["status"]] {
        let (status, said) = migrate(url.as_str(), command).run().await;
        if !status.success() {
            assert!(said.contains("\n  fix:   "), "{command:?}: {said}");
            assert!(said.contains("permission denied"), "{command:?}: {said}");
        }
        assert!(!said.contains("at line"), "{command:?}: {said}");
    }
    let (status, said) = migrate(url.as_str(), &["run"]).run().await;
    assert!(!status.success() && said.contains("CREATE on it"), "{said}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("drop role {role}")))
        .execute(&db.pool)
        .await
        .unwrap();
}
