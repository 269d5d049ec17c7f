//! Archives: old transfers of providers in files, and a ledger that adds up without them (G3, G7).

mod command;
mod enforcement;
mod files;
mod ledger;

use std::path::{Path, PathBuf};

use sqlx::PgPool;
use surety::ids::TransactionId;
use surety::operations::archives::{self, ArchiveView, MakingError, NewArchive, Prover};
use surety::operations::verify::{self, Scope};
use surety::operations::{Actor, Identity};
use time::Duration;

use crate::support::ledger::{settle, transaction};

const KEEP: Duration = Duration::days(40);

fn actor() -> Actor {
    Actor { identity: Identity::command_line("ada"), reason: "the books".parse().unwrap() }
}

/// Settled payments to two merchants by ten payers, each by itself and so with a date of its own.
async fn settled(pool: &PgPool, payments: usize) -> Vec<TransactionId> {
    let mut ids = Vec::new();
    for number in 0..payments {
        let (payer, shop) = (format!("payer-{}", number % 10), format!("shop-{}", number % 2));
        let amount = if number % 3 == 0 { "700 JPY" } else { "12.50 USD" };
        let id = transaction(&mut pool.acquire().await.unwrap(), &payer, &shop, amount).await;
        settle(pool, &[id]).await;
        ids.push(id);
    }
    ids
}

/// Makes all that there is so many days older, as nobody but a superuser without triggers can.
async fn age(pool: &PgPool, days: i32) {
    let older = format!(
        "
        begin;
        set local session_replication_role = replica;
        create or replace function pg_temp.aged(id uuid) returns uuid language sql as $$
          -- The milliseconds of the first twelve digits.
          select (
            lpad(
              to_hex(('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint
                - {days} * 86400000::bigint),
              12, '0'
            ) || substr(replace(id::text, '-', ''), 13)
          )::uuid
        $$;
        update payments.transfers
        set id = pg_temp.aged(id), created_at = created_at - interval '{days} days';
        update payments.entries
        set transfer_id = pg_temp.aged(transfer_id),
          created_at = created_at - interval '{days} days';
        update payments.transactions
        set created_at = created_at - interval '{days} days',
          processed_at = processed_at - interval '{days} days';
        commit"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(older)).execute(pool).await.unwrap();
}

/// Makes archives until there is nothing left that is older than [`KEEP`].
async fn archive_all(pool: &PgPool, folder: &Path, per_file: u32) -> Vec<ArchiveView> {
    archive_older(pool, folder, per_file, KEEP).await
}

async fn archive_older(
    pool: &PgPool,
    folder: &Path,
    per_file: u32,
    keep: Duration,
) -> Vec<ArchiveView> {
    let mut made = Vec::new();
    while let Some(archive) = archive(pool, folder, per_file, keep).await.unwrap() {
        made.push(archive);
    }
    made
}

async fn archive(
    pool: &PgPool,
    folder: &Path,
    per_file: u32,
    keep: Duration,
) -> Result<Option<ArchiveView>, MakingError> {
    let mut conn = pool.acquire().await.unwrap();
    archives::create_next(&mut conn, NewArchive { keep, per_file, folder }, &actor()).await
}

/// The files of a folder in the order of their numbers.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// All that is wrong with these files, by themselves and by the database.
async fn problems(pool: &PgPool, files: &[PathBuf]) -> Vec<String> {
    let mut conn = pool.acquire().await.unwrap();
    let mut prover = Prover::default();
    let mut problems = Vec::new();
    for file in files {
        problems.extend(prover.prove(file, Some(&mut conn)).await.unwrap().problems);
    }
    problems.extend(prover.compare_accounts(&mut conn).await.unwrap());
    problems
}

/// The names of the checks that found something, of those of the ledger: the jobs are another's.
async fn broken(pool: &PgPool) -> Vec<&'static str> {
    let mut conn = pool.acquire().await.unwrap();
    let limit = std::time::Duration::from_secs(60);
    let report = verify::verify(&mut conn, Scope::Everything, limit).await.unwrap();
    let found = report.findings().iter().filter(|finding| finding.violations > 0);
    found.map(|it| it.invariant.name).filter(|name| !name.contains("job")).collect()
}
