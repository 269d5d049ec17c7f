//! How the schema comes to a database: what is applied, what is applied again, and what is refused.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::PgPool;
use surety_queue::schema::{
    self, ItemState, Migration, Patience, QUEUE, Schema, SchemaError, SchemaFile, SchemaState,
    Target,
};

use super::kinds::{
    Act, End, Gates, Pay, assert_invariants_hold, count, effects, enqueue_job, idle_worker,
    state_of, unattended, worker,
};
use super::support::TestDb;

/// A program of one table and one function.
static FIRST: Schema = Schema {
    name: "shop",
    release: "1.0.0",
    works_from: 0,
    owns: &["shop"],
    records: "shop",
    migrations: &[CARTS],
    files: &[SchemaFile {
        name: "price.sql",
        sql: "create or replace function shop.price() returns int language sql as 'select 1'",
    }],
};

/// The same, one release later.
static SECOND: Schema = Schema {
    release: "1.1.0",
    works_from: 2,
    migrations: &[
        CARTS,
        Migration {
            name: "0002_faster_carts",
            up: "-- no-transaction\ncreate index concurrently carts_owner on shop.carts (owner)",
            down: "drop index shop.carts_owner",
            guard: None,
        },
    ],
    files: &[SchemaFile {
        name: "price.sql",
        sql: "create or replace function shop.price() returns int language sql as 'select 2'",
    }],
    ..FIRST
};

const CARTS: Migration = Migration {
    name: "0001_carts",
    up: "create table shop.carts (owner text)",
    down: "drop schema shop cascade",
    guard: Some("select 'there are carts' where exists (select from shop.carts)"),
};

async fn migrate(pool: &PgPool, schema: &'static Schema) -> Result<Vec<String>, SchemaError> {
    schema::migrate_all(pool, &[schema], Patience::default()).await
}

async fn price(pool: &PgPool) -> i32 {
    sqlx::query_scalar("select shop.price()").fetch_one(pool).await.unwrap()
}

async fn execute(pool: &PgPool, sql: &'static str) {
    sqlx::raw_sql(sql).execute(pool).await.unwrap();
}

#[tokio::test]
async fn what_is_missing_is_applied_once() {
    let db = TestDb::without_schema().await;
    assert_eq!(
        schema::state(&db.pool, &[&FIRST]).await.unwrap(),
        SchemaState::Outdated { missing: 2 }
    );
    assert_eq!(migrate(&db.pool, &FIRST).await.unwrap(), ["shop/1", "shop/price.sql"]);
    assert_eq!(migrate(&db.pool, &FIRST).await.unwrap(), [""; 0]);
    assert_eq!(schema::state(&db.pool, &[&FIRST]).await.unwrap(), SchemaState::Current);
}

#[tokio::test]
async fn a_file_whose_text_has_changed_is_applied_again() {
    static CHANGED: Schema = Schema { files: SECOND.files, ..FIRST };
    let db = TestDb::without_schema().await;
    migrate(&db.pool, &FIRST).await.unwrap();
    assert_eq!(
        schema::state(&db.pool, &[&CHANGED]).await.unwrap(),
        SchemaState::Outdated { missing: 1 }
    );
    assert_eq!(migrate(&db.pool, &CHANGED).await.unwrap(), ["shop/price.sql"]);
    assert_eq!(price(&db.pool).await, 2);
}

#[tokio::test]
async fn a_file_of_an_older_release_never_replaces_one_of_a_newer() {
    static HOTFIXED: Schema = Schema { release: "1.0.1", files: SECOND.files, ..FIRST };
    let db = TestDb::without_schema().await;
    migrate(&db.pool, &HOTFIXED).await.unwrap();

    assert_eq!(migrate(&db.pool, &FIRST).await.unwrap(), [""; 0]);
    assert_eq!(price(&db.pool).await, 2);
    assert_eq!(schema::state(&db.pool, &[&FIRST]).await.unwrap(), SchemaState::Current);
    let mut conn = db.pool.acquire().await.unwrap();
    let status = schema::status(&mut conn, &[&FIRST]).await.unwrap();
    assert!(matches!(status[1].state, ItemState::Newer(_)), "{status:?}");
}

#[tokio::test]
async fn a_migration_that_postgresql_refuses_in_a_transaction_is_applied_outside() {
    let db = TestDb::without_schema().await;
    migrate(&db.pool, &FIRST).await.unwrap();
    assert_eq!(migrate(&db.pool, &SECOND).await.unwrap(), ["shop/2", "shop/price.sql"]);
    let valid = "select indisvalid from pg_index where indexrelid = 'shop.carts_owner'::regclass";
    assert!(sqlx::query_scalar::<_, bool>(valid).fetch_one(&db.pool).await.unwrap());
}

#[tokio::test]
async fn all_files_are_applied_again_after_a_migration_which_may_have_dropped_them() {
    static RENAMED: Schema = Schema {
        migrations: &[
            CARTS,
            Migration {
                name: "0002_owners",
                up: "drop function shop.price(); alter table shop.carts rename owner to owned_by",
                down: "alter table shop.carts rename owned_by to owner",
                guard: None,
            },
        ],
        ..FIRST
    };
    let db = TestDb::without_schema().await;
    migrate(&db.pool, &FIRST).await.unwrap();
    assert_eq!(migrate(&db.pool, &RENAMED).await.unwrap(), ["shop/2", "shop/price.sql"]);
    assert_eq!(price(&db.pool).await, 1);
}

#[tokio::test]
async fn when_one_of_several_fails_nothing_is_applied() {
    static BROKEN: Schema = Schema {
        name: "broken",
        owns: &["broken"],
        records: "broken",
        migrations: &[Migration { name: "0001_x", up: "create tabel x ()", ..CARTS }],
        files: &[],
        ..FIRST
    };
    let db = TestDb::without_schema().await;
    let failed = schema::migrate_all(&db.pool, &[&FIRST, &BROKEN], Patience::default()).await;
    assert!(matches!(failed, Err(SchemaError::Apply { item: "0001_x", .. })), "{failed:?}");
    assert_eq!(count(&db.pool, SCHEMAS).await, 0);
}

const SCHEMAS: &str =
    "select count(*) from pg_namespace where nspname in ('shop', 'broken', 'queue')";

#[tokio::test]
async fn a_release_works_with_the_migrations_of_the_next_and_leaves_them_alone() {
    static NEXT: Schema = Schema { works_from: 1, ..SECOND };
    static AFTER_NEXT: Schema = Schema {
        release: "1.2.0",
        works_from: 2,
        migrations: &[
            CARTS,
            SECOND.migrations[1],
            Migration {
                name: "0003_prices",
                up: "create table shop.prices ()",
                down: "drop table shop.prices",
                guard: None,
            },
        ],
        ..SECOND
    };
    let db = TestDb::without_schema().await;
    migrate(&db.pool, &FIRST).await.unwrap();
    // As records were before they said so.
    execute(&db.pool, "alter table shop.schema_migrations drop column works_from").await;
    assert_eq!(schema::state(&db.pool, &[&FIRST]).await.unwrap(), SchemaState::Current);
    migrate(&db.pool, &NEXT).await.unwrap();

    assert_eq!(schema::state(&db.pool, &[&FIRST]).await.unwrap(), SchemaState::Current);
    assert_eq!(migrate(&db.pool, &FIRST).await.unwrap(), [""; 0]);
    assert_eq!(price(&db.pool).await, 2);

    migrate(&db.pool, &AFTER_NEXT).await.unwrap();
    assert_eq!(schema::state(&db.pool, &[&NEXT]).await.unwrap(), SchemaState::Current);
    assert_eq!(schema::state(&db.pool, &[&FIRST]).await.unwrap(), SchemaState::Newer);
    let refused = migrate(&db.pool, &FIRST).await;
    assert!(matches!(refused, Err(SchemaError::Newer { version: 2, .. })), "{refused:?}");
}

#[tokio::test]
async fn a_migration_that_is_not_known_or_was_another_one_is_refused() {
    static EDITED: Schema = Schema {
        migrations: &[Migration { up: "create table shop.carts (owner uuid)", ..CARTS }],
        ..FIRST
    };
    let db = TestDb::without_schema().await;
    migrate(&db.pool, &SECOND).await.unwrap();
    let newer = migrate(&db.pool, &FIRST).await;
    assert!(matches!(newer, Err(SchemaError::Newer { version: 2, .. })), "{newer:?}");
    assert_eq!(schema::state(&db.pool, &[&FIRST]).await.unwrap(), SchemaState::Newer);
    assert_eq!(price(&db.pool).await, 2);

    let db = TestDb::without_schema().await;
    migrate(&db.pool, &FIRST).await.unwrap();
    let changed = migrate(&db.pool, &EDITED).await;
    assert!(matches!(changed, Err(SchemaError::Changed { version: 1, .. })), "{changed:?}");
}

#[tokio::test]
async fn a_schema_that_came_in_another_way_is_refused_in_one_sentence_and_left_alone() {
    let db = TestDb::without_schema().await;
    execute(&db.pool, "create schema queue; create table queue.jobs (id bigint)").await;
    let refused = surety_queue::migrate(&db.pool).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the schema queue was made before the first release, or by somebody else, and cannot be \
         migrated: use another database"
    );
    let state = schema::state(&db.pool, &[&QUEUE]).await.unwrap();
    assert_eq!(state, SchemaState::NotRecorded { postgres_schema: "queue" });
    let tables = "select count(*) from pg_class where relnamespace = 'queue'::regnamespace";
    assert_eq!(count(&db.pool, tables).await, 1);
}

#[tokio::test]
async fn a_schema_that_was_made_empty_for_it_is_taken() {
    let db = TestDb::without_schema().await;
    execute(&db.pool, "create schema queue").await;
    surety_queue::migrate(&db.pool).await.unwrap();
}

#[tokio::test]
async fn a_revert_that_is_forbidden_undoes_nothing_and_its_plan_says_the_same() {
    let db = TestDb::without_schema().await;
    migrate(&db.pool, &SECOND).await.unwrap();
    execute(&db.pool, "insert into shop.carts values ('ada')").await;
    let everything = [Target { schema: &SECOND, version: 0 }];

    let mut conn = db.pool.acquire().await.unwrap();
    let plan = schema::plan_revert(&mut conn, &everything).await.unwrap();
    assert_eq!((plan.undone.len(), plan.refusals), (2, vec!["there are carts".to_owned()]));
    let refused = schema::revert(&db.pool, &everything, Patience::default()).await.unwrap_err();
    assert_eq!(refused.to_string(), "nothing was undone: there are carts");
    assert_eq!(schema::state(&db.pool, &[&SECOND]).await.unwrap(), SchemaState::Current);

    // What does not touch the carts may be undone.
    let second = [Target { schema: &SECOND, version: 1 }];
    assert_eq!(schema::revert(&db.pool, &second, Patience::default()).await.unwrap().len(), 1);
    execute(&db.pool, "delete from shop.carts").await;
    schema::revert(&db.pool, &everything, Patience::default()).await.unwrap();
    assert_eq!(count(&db.pool, SCHEMAS).await, 0);
}

#[tokio::test]
async fn a_row_that_is_written_during_a_revert_is_seen_by_the_guard() {
    let db = TestDb::without_schema().await;
    migrate(&db.pool, &FIRST).await.unwrap();
    let mut writer = db.pool.begin().await.unwrap();
    sqlx::query("insert into shop.carts values ('ada')").execute(&mut *writer).await.unwrap();

    let pool = db.pool.clone();
    let reverting = tokio::spawn(async move {
        let everything = [Target { schema: &FIRST, version: 0 }];
        schema::revert(&pool, &everything, Patience::default()).await
    });
    super::support::wait_for_locks(&db.pool, 1).await;
    writer.commit().await.unwrap();
    let refused = reverting.await.unwrap();
    assert!(matches!(refused, Err(SchemaError::Refused { .. })), "{refused:?}");
}

#[tokio::test]
async fn after_a_revert_an_older_release_applies_its_own_files() {
    let db = TestDb::without_schema().await;
    migrate(&db.pool, &SECOND).await.unwrap();
    let second = [Target { schema: &SECOND, version: 1 }];
    schema::revert(&db.pool, &second, Patience::default()).await.unwrap();
    assert_eq!(migrate(&db.pool, &FIRST).await.unwrap(), ["shop/price.sql"]);
    assert_eq!(price(&db.pool).await, 1);
}

#[tokio::test]
async fn who_waits_for_a_lock_gives_up_in_time_and_has_changed_nothing() {
    let db = TestDb::new().await;
    let mut reader = db.pool.begin().await.unwrap();
    sqlx::query("select from queue.jobs").fetch_all(&mut *reader).await.unwrap();
    let everything = [Target { schema: &QUEUE, version: 0 }];
    let patience =
        Patience { lock_timeout: Duration::from_millis(50), total: Duration::from_millis(500) };
    let locked = schema::revert(&db.pool, &everything, patience).await;
    assert!(matches!(locked, Err(SchemaError::Locked { .. })), "{locked:?}");
    assert_eq!(schema::state(&db.pool, &[&QUEUE]).await.unwrap(), SchemaState::Current);
}

/// Everything in the queue's schema that a migration or file can make, one line each.
async fn objects(pool: &PgPool) -> BTreeSet<String> {
    let lines: Vec<String> = sqlx::query_scalar(
        "with ours as (select oid, nspname from pg_namespace where nspname = 'queue')
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
async fn every_migration_of_the_queue_can_be_undone_and_applied_again() {
    let db = TestDb::without_schema().await;
    surety_queue::migrate(&db.pool).await.unwrap();
    let before = objects(&db.pool).await;
    // One by one, so that each finds the schema as it left it.
    for version in (0..QUEUE.migrations.len() as i64).rev() {
        let target = [Target { schema: &QUEUE, version }];
        let undone = schema::revert(&db.pool, &target, Patience::default()).await.unwrap();
        assert_eq!(undone[0].1.version(), version + 1);
        assert_eq!(undone.len(), 1);
    }
    assert_eq!(objects(&db.pool).await, BTreeSet::new());
    surety_queue::migrate(&db.pool).await.unwrap();
    assert_eq!(objects(&db.pool).await, before);
}

#[tokio::test]
async fn the_queue_is_not_taken_back_while_it_has_jobs_that_are_not_decided_over() {
    let db = TestDb::new().await;
    let everything = [Target { schema: &QUEUE, version: 0 }];
    let refusals = async || {
        let mut conn = db.pool.acquire().await.unwrap();
        schema::plan_revert(&mut conn, &everything).await.unwrap().refusals
    };
    assert!(refusals().await.is_empty());
    enqueue_job(&db.pool, &Act::new("a", End::Discard)).await;
    assert!(refusals().await[0].starts_with("queue.jobs holds unfinished jobs"));
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert!(refusals().await[0].contains("that nobody has decided over"));
    execute(
        &db.pool,
        "insert into queue.resolutions (job_id, attempt, resolution, resolved_by, reason)
         select id, attempt, 'dismissed', 'ada', 'x' from queue.finished_jobs",
    )
    .await;
    schema::revert(&db.pool, &everything, Patience::default()).await.unwrap();
}

/// Everything that a job is.
async fn jobs(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "select concat_ws(' ', id, queue, kind, priority, state, run_at, attempt, max_attempts,
                          crash_count, fence, lease_expires_at, enqueued_at, finished_at, args)
         from queue.all_jobs order by id",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn the_newest_migration_can_be_undone_and_applied_again_with_jobs_in_every_state() {
    let db = super::kinds::database().await;
    for end in [End::Complete, End::Fail, End::Cancel, End::SnoozeBecause] {
        enqueue_job(&db.pool, &Act::new("a", end)).await;
    }
    enqueue_job(&db.pool, &Pay(Act::new("b", End::Snooze))).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    let gates = Gates::new();
    let busy = worker(&db.pool, &gates, unattended());
    let running = enqueue_job(&db.pool, &Act::gated("c", End::Complete)).await;
    let run = tokio::spawn(async move { busy.run_until_idle().await });
    gates.wait_begun().await;
    let before = jobs(&db.pool).await;
    assert_eq!(before.len(), 6);

    let version = QUEUE.migrations.len() as i64 - 1;
    let target = [Target { schema: &QUEUE, version }];
    schema::revert(&db.pool, &target, Patience::default()).await.unwrap();
    // The view of all jobs goes with the columns that it shows.
    let left =
        "select (select count(*) from queue.jobs) + (select count(*) from queue.finished_jobs)";
    assert_eq!(count(&db.pool, left).await, 6);
    surety_queue::migrate(&db.pool).await.unwrap();
    assert_eq!(jobs(&db.pool).await, before);

    // What was running meanwhile goes on, and what waited runs.
    gates.go_on.add_permits(1);
    assert_eq!(run.await.unwrap().unwrap().completed, 1);
    assert_eq!(state_of(&db.pool, running).await, "completed");
    sqlx::query("update queue.jobs set run_at = clock_timestamp()")
        .execute(&db.pool)
        .await
        .unwrap();
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(count(&db.pool, "select count(*) from queue.jobs").await, 2, "snoozed again");
    assert_eq!(effects(&db.pool).await, ["a", "c"]);
    assert_invariants_hold(&db.pool).await;
}
