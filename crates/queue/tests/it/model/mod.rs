//! Random sequences of everything that can happen to jobs, against a model: after every step the
//! database is what the model says, down to who was told what, and at the end all invariants hold.
//!
//! Several workers keep the claims that they ever had, so that every write is tried under current
//! fences and under stale ones, which must leave each row as it was (G4). Nobody sleeps: when the
//! model's clock goes on, the moments in the database are moved towards the present.
//!
//! The steps are the files of `src/sql/`, sent as they are. So the statements themselves are
//! tested, and with any fence, which a `Worker` would not allow; that the library sends them as
//! they are meant is tested beside this, with workers.
//!
//! `SURETY_TEST_SEQUENCES` is how many sequences are tried, for a longer run.

mod machine;
mod replay;
mod steps;

use std::sync::atomic::Ordering;

use proptest::test_runner::{Config, TestRunner};
use proptest_state_machine::ReferenceStateMachine as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::sync::Mutex;

use self::machine::Model;
use self::replay::Replay;
use super::kinds::assert_invariants_hold;
use crate::support::TestDb;

/// As many as end within half a minute.
const SEQUENCES: u32 = 300;
const STEPS: std::ops::RangeInclusive<usize> = 10..=50;

#[test]
fn whatever_happens_to_jobs_the_database_is_what_the_model_says() {
    let sequences = std::env::var("SURETY_TEST_SEQUENCES")
        .ok()
        .map_or(SEQUENCES, |sequences| sequences.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (db, conn) = runtime.block_on(database());
    let config = Config { cases: sequences, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let played = runner.run(&Model::sequential_strategy(STEPS), |(mut model, steps, seen)| {
        runtime.block_on(async {
            let mut conn = conn.lock().await;
            let mut replay = Replay::begin(&mut conn).await;
            for step in &steps {
                if let Some(seen) = &seen {
                    seen.fetch_add(1, Ordering::SeqCst);
                }
                let before = model.clone();
                model = Model::apply(model, step);
                replay.step(&before, step, &model).await?;
            }
            Ok(())
        })
    });
    played.unwrap_or_else(|failure| panic!("{failure}"));
    runtime.block_on(async {
        sqlx::raw_sql("truncate queue.jobs").execute(&db.pool).await.unwrap();
        assert_invariants_hold(&db.pool).await;
    });
}

/// One for all sequences, by a connection whose plans are those of a worker's.
async fn database() -> (TestDb, Mutex<PgConnection>) {
    let db = TestDb::new().await;
    let options: PgConnectOptions = db.url.parse().unwrap();
    let options = options.options([
        ("enable_seqscan", "off"),
        ("enable_bitmapscan", "off"),
        ("plan_cache_mode", "force_generic_plan"),
        // It costs more than it saves, and a scan that the above makes dear would bring it on.
        ("jit", "off"),
    ]);
    let mut conn = options.connect().await.unwrap();
    // Partitions of the coming days only cost time here.
    sqlx::raw_sql(
        "do $$
         declare
           partition regclass;
         begin
           for partition in
             select inhrelid from pg_inherits
             where inhrelid::regclass::text ~ '_[0-9]{8}$'
               and right(inhrelid::regclass::text, 8)
                 > to_char(now() + interval '1 day', 'YYYYMMDD')
           loop
             execute format('drop table %s', partition);
           end loop;
         end $$",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    (db, Mutex::new(conn))
}
