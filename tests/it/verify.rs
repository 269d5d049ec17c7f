//! `app verify`: passes on a good database, also while it is at work, and fails for each thing that
//! can be wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use sqlx::PgPool;
use surety::ids::{OrderId, UserId};
use surety::invariants::Weight;
use surety::operations::verify::{self, Report, Scope};
use surety::payments::orders::{self, Execution, Instruction};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::support::ledger::money;
use crate::support::ledger::{accepted, count, external, post, run_jobs, transfer, wallet};
use crate::support::money::{complete_job, open_wallet, take, taken};
use crate::support::{App, Binary as _, TestDb, wait_for_locks};

/// A database with a bit of everything: settled, failed and waiting transactions, transfers of
/// other origin, orders of every kind and in every state, and a finished job of another kind,
/// number 1000.
async fn good_database() -> TestDb {
    let db = TestDb::new().await;
    give_orders(&db.pool).await;
    for number in 0..12 {
        let source = format!("payer-{}", number % 4);
        accepted(&db.pool, &source, "shop", "12.50 USD").await;
    }
    accepted(&db.pool, "payer-1", "shop", "1500 JPY").await;
    accepted(&db.pool, "payer-1", "payer-1", "1 USD").await;
    let outside = external(&db.pool, "payer-1", "USD").await;
    let wallet = wallet(&db.pool, "USD").await;
    post(&db.pool, &[transfer(outside, wallet, "5 USD")]).await.unwrap();
    run_jobs(&db.pool).await;
    accepted(&db.pool, "payer-2", "shop", "3 USD").await;
    accepted(&db.pool, "payer-2", "new shop", "3 USD").await;
    sqlx::raw_sql(
        "insert into queue.finished_jobs
           (id, queue, kind, priority, attempt, max_attempts, crash_count, state, run_at,
            enqueued_at, args)
           values (1000, 'default', 'other', 2, 2, 10, 1, 'completed', now(), now(), '{}');
         insert into queue.attempts (job_id, attempt, fence, worker_id, started_at, outcome, error)
           values
             (1000, 1, nextval('queue.fence'), gen_random_uuid(), now(), 'crashed', 'lost'),
             (1000, 2, nextval('queue.fence'), gen_random_uuid(), now(), 'completed', null)",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    db
}

/// Orders, each with its purpose as its description and its key.
async fn give_orders(pool: &PgPool) {
    let (alice, bob) = (UserId(Uuid::now_v7()), UserId(Uuid::now_v7()));
    let wallet = open_wallet(pool, alice, "USD").await;
    let bobs = open_wallet(pool, bob, "USD").await;
    let pay =
        |text| Instruction::Transfer { source: wallet, destination: bobs, money: money(text) };

    let deposit = Instruction::Deposit { wallet, money: money("100 USD") };
    let deposit = taken(take(pool, alice, "deposited", deposit).await);
    complete(pool, deposit, true).await;
    let given = taken(take(pool, alice, "given", pay("10 USD")).await);
    let kept = taken(take(pool, alice, "kept", pay("7 USD")).await);
    run_jobs(pool).await;
    let back = Instruction::Refund { transfer: given };
    taken(take(pool, bob, "given back", back).await);
    run_jobs(pool).await;
    let withdrawal = |text| Instruction::Withdrawal { wallet, money: money(text) };
    let declined = taken(take(pool, alice, "declined", withdrawal("6 USD")).await);
    complete(pool, declined, false).await;
    take(pool, alice, "refused", withdrawal("6000 USD")).await;
    taken(take(pool, alice, "withdrawing", withdrawal("20 USD")).await);
    taken(take(pool, alice, "giving", pay("3 USD")).await);
    sqlx::raw_sql("update queue.jobs set run_at = now() + interval '1 hour'")
        .execute(pool)
        .await
        .unwrap();
    assert_ne!(given, kept);
}

/// What a worker commits once the bank has booked or declined an order.
async fn complete(pool: &PgPool, id: OrderId, is_booked: bool) {
    let mut tx = pool.begin().await.unwrap();
    match is_booked {
        true => {
            let bank_reference = Some("booking-1".to_owned());
            let execution = Execution { order: id, bank_reference };
            let _ = orders::execute_many(&mut tx, &[execution]).await.unwrap();
        }
        false => assert!(!orders::fail(&mut tx, id, "declined").await.unwrap().is_empty()),
    }
    complete_job(&mut tx, id).await;
    tx.commit().await.unwrap();
}

async fn check(pool: &PgPool) -> Report {
    check_in(pool, Scope::Everything).await
}

async fn check_in(pool: &PgPool, scope: Scope) -> Report {
    let mut conn = pool.acquire().await.unwrap();
    verify::verify(&mut conn, scope, Duration::from_secs(60)).await.unwrap()
}

/// Everything of a test is newer.
fn an_hour_ago() -> OffsetDateTime {
    OffsetDateTime::now_utc() - time::Duration::HOUR
}

/// The names of the checks that found something.
fn found(report: &Report) -> BTreeSet<&'static str> {
    let found = report.findings().iter().filter(|finding| finding.violations > 0);
    found.map(|finding| finding.invariant.name).collect()
}

/// What breaks invariants, as one statement or several run with triggers off, and which invariants
/// it breaks.
const BREAKS: &[(&str, &[&str])] = &[
    // Archives.
    (
        "insert into payments.archives (number, dated_before, transfers, file_name, file_sha256)
         values (1, now() - interval '31 days', 1, 'x', sha256('x'));
         insert into payments.archived_transactions values (15, 15, 1)",
        &["archives-add-up"],
    ),
    (
        "insert into payments.archives (number, dated_before, transfers, file_name, file_sha256)
         values (1, now() - interval '31 days', 1, 'x', sha256('x'));
         insert into payments.archived_transactions values (3, 3, 1)",
        &["completed-transactions-have-one-transfer"],
    ),
    (
        "insert into payments.archives (number, dated_before, transfers, file_name, file_sha256)
         values (1, now() - interval '31 days', 1, 'x', sha256('x'));
         insert into payments.carried_forward
         select account_id, 1, balance_after, 1 from payments.entries
         where account_version = 1 and amount < 0 and account_id in (
           select id from payments.accounts where kind = 'external'
         )
         limit 1",
        &["archives-add-up", "balances-are-sums-of-entries", "versions-count-entries"],
    ),
    // Money and jobs.
    (
        "delete from queue.finished_jobs where args = '{\"transaction\": 3}'",
        &["transactions-have-one-settle-job"],
    ),
    (
        "insert into queue.jobs (kind, args)
         select kind, args from queue.jobs where args = '{\"transaction\": 15}'",
        &["transactions-have-one-settle-job"],
    ),
    (
        "insert into payments.transactions
           (transaction_id, source_account, destination_account, amount, currency, body)
         values ('jobless', 'a', 'b', 1, 'USD', '')",
        &["transactions-have-one-settle-job", "processing-transactions-have-a-job"],
    ),
    (
        "insert into queue.jobs (kind, args)
         values ('settle_transaction', '{\"transaction\": 99}')",
        &["settle-jobs-have-their-transaction"],
    ),
    (
        "with gone as (delete from queue.jobs where args = '{\"transaction\": 15}' returning *)
         insert into queue.finished_jobs
           (id, queue, kind, priority, attempt, max_attempts, crash_count, state, run_at,
            enqueued_at, args)
         select
           id, queue, kind, priority, 0, max_attempts, 0, 'cancelled', run_at, enqueued_at, args
         from gone",
        &["processing-transactions-have-a-job"],
    ),
    (
        "update payments.transactions
         set status = 'FAILED', failure_reason = 'by-hand', processed_at = now() where id = 15",
        &["settled-transactions-have-no-unfinished-job"],
    ),
    (
        "with gone as (delete from queue.jobs where args = '{\"transaction\": 15}' returning *),
         attempt as (
           insert into queue.attempts
             (job_id, attempt, fence, worker_id, started_at, outcome, error)
           select id, 1, nextval('queue.fence'), gen_random_uuid(), now(), 'discarded', 'because'
           from gone
         )
         insert into queue.finished_jobs
           (id, queue, kind, priority, attempt, max_attempts, crash_count, state, run_at,
            enqueued_at, args)
         select
           id, queue, kind, priority, 1, max_attempts, 0, 'discarded', run_at, enqueued_at, args
         from gone",
        &["no-transaction-waits-for-an-operator"],
    ),
    // Money.
    (
        "update payments.transactions set status = 'COMPLETED', failure_reason = null
         where status = 'FAILED'",
        &["completed-transactions-have-one-transfer"],
    ),
    (
        "update payments.transactions set destination_account = 'mallory' where id = 3",
        &["completed-transactions-have-one-transfer"],
    ),
    (
        "update payments.transactions set amount = 12.51 where id = 3",
        &["completed-transactions-have-one-transfer"],
    ),
    (
        "alter table payments.transfers drop constraint transfers_transaction_key;
         update payments.transfers set transaction_id = 3, amount = 12.50
         where transaction_id is null and order_id is null;
         update payments.entries set amount = sign(amount) * 12.50, balance_after = balance_after
         where abs(amount) = 5",
        &[
            "completed-transactions-have-one-transfer",
            "balances-are-sums-of-entries",
            "balances-after-form-a-chain",
        ],
    ),
    (
        "update payments.transactions set status = 'FAILED', failure_reason = 'by-hand'
         where id = 3",
        &["other-transactions-have-no-transfer"],
    ),
    (
        "update payments.transfers set transaction_id = 99
         where transaction_id is null and order_id is null",
        &["other-transactions-have-no-transfer"],
    ),
    (
        "insert into payments.transfers
           (id, source_account_id, destination_account_id, amount, currency)
         select '99999999-0000-4000-8000-000000000000', source_account_id, destination_account_id,
           amount, currency
         from payments.transfers limit 1",
        &["entries-sum-to-zero"],
    ),
    (
        "update payments.entries set amount = amount + 0.0001
         where account_version = 1 and currency_of(account_id) = 'JPY' and amount > 0",
        &["entries-sum-to-zero", "balances-are-sums-of-entries", "balances-after-form-a-chain"],
    ),
    (
        "update payments.entries set account_id = gen_random_uuid()
         where currency_of(account_id) = 'JPY' and amount > 0",
        &["entries-sum-to-zero", "balances-are-sums-of-entries", "versions-count-entries"],
    ),
    (
        "update payments.transfers set currency = 'EUR'
         where transaction_id is null and order_id is null",
        &["transfers-keep-to-one-currency"],
    ),
    (
        "update payments.accounts
         set balance = balance + case external_ref when 'shop' then 1 else -1 end
         where external_ref in ('shop', 'payer-3') and currency = 'USD'",
        &["balances-are-sums-of-entries"],
    ),
    (
        "update payments.accounts set balance = balance + 0.0001
         where external_ref = 'shop' and currency = 'USD'",
        &["balances-are-sums-of-entries", "currencies-sum-to-zero"],
    ),
    (
        "update payments.accounts set version = version + 1 where external_ref = 'payer-2'",
        &["versions-count-entries"],
    ),
    (
        "update payments.entries set account_version = account_version + 1
         where currency_of(account_id) = 'JPY'",
        &["versions-count-entries"],
    ),
    (
        "delete from payments.entries where currency_of(account_id) = 'JPY'",
        &["entries-sum-to-zero", "balances-are-sums-of-entries", "versions-count-entries"],
    ),
    (
        "update payments.entries set balance_after = balance_after + 1
         where currency_of(account_id) = 'JPY' and amount > 0",
        &["balances-after-form-a-chain"],
    ),
    (
        "alter table payments.accounts drop constraint accounts_available_above_floor;
         update payments.accounts set floor = balance + 0.0001 where floor is not null",
        &["balances-respect-floors"],
    ),
    // Orders and jobs.
    (
        "delete from queue.finished_jobs where args ->> 'order' = order_of('kept')",
        &["orders-have-one-execute-job"],
    ),
    (
        "insert into queue.jobs (kind, args)
         select kind, args from queue.jobs where args ->> 'order' = order_of('giving')",
        &["orders-have-one-execute-job"],
    ),
    (
        "delete from queue.jobs where args ->> 'order' = order_of('withdrawing')",
        &["orders-have-one-execute-job", "unfinished-orders-have-a-job"],
    ),
    ("select end_job(order_of('giving'), 'cancelled')", &["unfinished-orders-have-a-job"]),
    (
        "select end_job(order_of('giving'), 'discarded');
         insert into queue.resolutions (job_id, attempt, resolution, resolved_by, reason)
         select id, attempt, 'dismissed', 'ada', '' from queue.finished_jobs
         where args ->> 'order' = order_of('giving')",
        &["unfinished-orders-have-a-job", "no-order-waits-for-an-operator"],
    ),
    ("select end_job(order_of('withdrawing'), 'discarded')", &["no-order-waits-for-an-operator"]),
    (
        "insert into queue.jobs (kind, args)
         values ('execute_transfer', jsonb_build_object('order', gen_random_uuid()))",
        &["execute-jobs-have-their-order"],
    ),
    (
        "update queue.jobs set kind = 'execute_transfer'
         where args ->> 'order' = order_of('withdrawing')",
        &["execute-jobs-have-their-order"],
    ),
    (
        "update payments.orders
         set status = 'FAILED', failure_reason = 'by-hand', finished_at = now()
         where description = 'giving';
         update payments.accounts set held = held - 3 where held > 0",
        &["finished-orders-have-no-unfinished-job"],
    ),
    // Deliveries.
    (
        "insert into deliveries.deliveries (event_seq, endpoint_id) values (1, gen_random_uuid())",
        &["pending-deliveries-have-a-job"],
    ),
    // Orders and keys.
    (
        "update api.idempotency_keys set order_id = gen_random_uuid() where key = 'kept'",
        &["kept-answers-name-their-order"],
    ),
    (
        "update api.idempotency_keys set caller = 'user:' || gen_random_uuid() where key = 'kept'",
        &["kept-answers-name-their-order"],
    ),
    (
        "update api.idempotency_keys set caller = 'key:' || gen_random_uuid() where key = 'kept'",
        &["kept-answers-name-their-order"],
    ),
    (
        "update api.idempotency_keys set order_id = null where key = 'kept'",
        &["kept-answers-name-their-order"],
    ),
    (
        "update api.idempotency_keys set order_id = order_of('kept')::uuid where key = 'refused'",
        &["kept-answers-name-their-order", "orders-have-one-key"],
    ),
    (
        "update api.idempotency_keys
         set body = (select body from api.idempotency_keys where key = 'given') where key = 'kept'",
        &["kept-answers-name-their-order"],
    ),
    (
        "insert into api.idempotency_keys
           (caller, route, key, fingerprint, status, content_type, body, order_id)
         select caller, route, 'again', fingerprint, status, content_type, body, order_id
         from api.idempotency_keys where key = 'kept'",
        &["orders-have-one-key"],
    ),
    // Orders.
    (
        "update payments.orders set status = 'COMPLETED', failure_reason = null
         where description = 'declined'",
        &["completed-orders-have-one-transfer"],
    ),
    (
        "update payments.orders set amount = 7.01 where description = 'kept'",
        &["completed-orders-have-one-transfer"],
    ),
    (
        "drop index payments.transfers_order_key;
         insert into payments.transfers
           (id, order_id, source_account_id, destination_account_id, amount, currency)
         select '99999999-0000-4000-8000-000000000000', order_id, source_account_id,
           destination_account_id, amount, currency
         from payments.transfers where order_id::text = order_of('kept')",
        &["completed-orders-have-one-transfer", "entries-sum-to-zero"],
    ),
    (
        "update payments.orders set status = 'FAILED', failure_reason = 'by-hand'
         where description = 'kept'",
        &["other-orders-have-no-transfer"],
    ),
    (
        "update payments.transfers set order_id = gen_random_uuid()
         where order_id::text = order_of('kept')",
        &["completed-orders-have-one-transfer", "other-orders-have-no-transfer"],
    ),
    (
        "update payments.accounts set held = held - 0.0001 where held > 0",
        &["holds-are-unfinished-orders"],
    ),
    (
        "update payments.accounts set held = 1 where held = 0 and kind = 'wallet'",
        &["holds-are-unfinished-orders"],
    ),
    (
        "update payments.orders set refund_of = order_of('kept')::uuid where kind = 'refund'",
        &["refunds-fit-their-transfers"],
    ),
    (
        "drop index payments.orders_refund_key;
         update payments.orders set kind = 'refund', refund_of = order_of('given')::uuid
         where description = 'given back' or description = 'declined'",
        &[
            "refunds-fit-their-transfers",
            "execute-jobs-have-their-order",
            "orders-move-their-owners-money",
        ],
    ),
    (
        "update payments.orders set owner_id = gen_random_uuid() where description = 'kept'",
        &["orders-move-their-owners-money", "kept-answers-name-their-order"],
    ),
    (
        "update payments.accounts set owner_id = gen_random_uuid()
         where kind = 'wallet' and held = 0",
        &["orders-move-their-owners-money"],
    ),
    // Jobs.
    (
        "insert into queue.jobs (id, kind, attempt, run_at) overriding system value
         values (1000, 'other', 2, now())",
        &["jobs-are-unfinished-or-finished"],
    ),
    (
        "insert into queue.finished_jobs select * from queue.finished_jobs where id = 1000",
        &["jobs-finish-once"],
    ),
    (
        "delete from queue.attempts where job_id = 1000 and attempt = 1",
        &["attempts-are-numbered-without-gaps"],
    ),
    ("delete from queue.attempts where job_id = 1000", &["attempts-are-numbered-without-gaps"]),
    (
        "insert into queue.attempts
         select * from queue.attempts where job_id = 1000 and attempt = 1",
        &["attempts-are-numbered-without-gaps"],
    ),
    (
        "update queue.attempts set attempt = 3 where job_id = 1000 and attempt = 2",
        &["attempts-are-numbered-without-gaps"],
    ),
    (
        "update queue.jobs set attempt = 1 where args = '{\"transaction\": 15}'",
        &["attempts-are-numbered-without-gaps"],
    ),
    ("update queue.finished_jobs set max_attempts = 0 where id = 1000", &["attempts-are-bounded"]),
    (
        "update queue.finished_jobs set state = 'discarded' where id = 1000",
        &["discarded-jobs-tell-why"],
    ),
    (
        "update queue.finished_jobs set state = 'discarded' where id = 1000;
         update queue.attempts set error = 'because' where job_id = 1000 and attempt = 2;
         insert into queue.resolutions (job_id, attempt, resolution, resolved_by, reason)
         values (1000, 1, 'redriven', 'ada', ''), (1000, 2, 'redriven', 'ada', '')",
        &["redriven-jobs-left-the-history"],
    ),
    (
        "update queue.jobs
         set running = true, attempt = 1, fence = nextval('queue.fence'),
           worker_id = gen_random_uuid(), started_at = now(),
           lease_expires_at = now() - interval '61 seconds'
         where args = '{\"transaction\": 15}'",
        &["no-lease-is-long-expired"],
    ),
    // Jobs that belong together.
    (
        "update queue.jobs
         set hold = 'dependencies', enqueued_at = now() - interval '61 seconds'
         where args = '{\"transaction\": 15}'",
        &["held-jobs-wait-for-something"],
    ),
    (
        "insert into queue.jobs (id, kind, hold, enqueued_at) overriding system value
         values (1001, 'other', 'dependencies', now() - interval '61 seconds');
         insert into queue.dependencies (job_id, depends_on) values (1001, 1000);
         update queue.finished_jobs set finished_at = now() - interval '61 seconds'
         where id = 1000",
        &["held-jobs-wait-for-something"],
    ),
    (
        "insert into queue.batches (created_at) values (now() - interval '61 seconds')",
        &["batches-end-with-their-members"],
    ),
    (
        "insert into queue.batches (id, done_at) overriding system value values (1, now());
         update queue.jobs set batch_id = 1 where args = '{\"transaction\": 15}'",
        &["done-batches-are-at-rest"],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_good_database_passes() {
    let db = good_database().await;
    let report = check(&db.pool).await;
    assert_eq!(found(&report), BTreeSet::new());
    assert!(report.holds());
    assert_eq!(count(&db.pool, "select count(*) from payments.transfers").await, 18);
}

#[tokio::test]
async fn an_empty_database_passes() {
    let db = TestDb::new().await;
    assert_eq!(found(&check(&db.pool).await), BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_is_found_and_nothing_else() {
    let cases = futures_util::stream::iter(BREAKS).for_each_concurrent(4, |case| async {
        let (statements, expected) = *case;
        let db = good_database().await;
        break_it(&db.pool, statements).await;

        let report = check(&db.pool).await;

        assert_eq!(found(&report), expected.iter().copied().collect(), "after: {statements}");
        let guarantee = report
            .findings()
            .iter()
            .any(|finding| finding.violations > 0 && finding.invariant.weight == Weight::Guarantee);
        assert_eq!(report.holds(), !guarantee, "after: {statements}");

        let recent = check_in(&db.pool, Scope::Since(an_hour_ago())).await;
        let (mut of_all, of_new) = (found(&report), found(&recent));
        if of_all.contains("balances-after-form-a-chain") {
            // What is new ends in the balance after the last entry.
            of_all.insert("balances-are-sums-of-entries");
        }
        assert!(of_new.is_subset(&of_all), "{of_new:?} after: {statements}");
        let mut left_out = recent.left_out.iter().map(|invariant| invariant.name);
        let is_left_out = left_out.any(|name| expected == [name]);
        assert_eq!(recent.holds(), report.holds() || is_left_out, "after: {statements}");
    });
    cases.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_new_is_checked_and_what_is_old_is_left_to_a_whole_verification() {
    let db = good_database().await;
    let since_last = async || {
        let (status, output) = App::command(["verify", "--since", "last", "-o", "json"])
            .env("DATABASE_URL", &db.url)
            .run()
            .await;
        let report: serde_json::Value = serde_json::from_str(&output).expect(&output);
        (status.code(), report)
    };
    // Nothing was proved yet, so that everything is looked at.
    let (code, report) = since_last().await;
    assert_eq!((code, &report["since"]), (Some(0), &serde_json::Value::Null), "{report}");
    let (code, report) = since_last().await;
    assert_eq!(code, Some(0), "{report}");
    assert!(report["since"].is_string(), "{report}");
    let left_out: Vec<&str> =
        report["left_out"].as_array().unwrap().iter().filter_map(|name| name.as_str()).collect();
    assert_eq!(left_out, ["pending-deliveries-have-a-job", "attempts-are-numbered-without-gaps"]);

    // As if all that was long ago.
    let spoilt = "update payments.transactions set amount = 12.51 where id = 3";
    break_it(&db.pool, spoilt).await;
    let in_an_hour = OffsetDateTime::now_utc() + time::Duration::HOUR;
    assert!(check_in(&db.pool, Scope::Since(in_an_hour)).await.holds());
    assert!(!check_in(&db.pool, Scope::Since(an_hour_ago())).await.holds());

    // Proof is what held: after one that did not, the next begins where the last good one began.
    let (code, first) = since_last().await;
    assert_eq!(code, Some(1), "{first}");
    let (code, second) = since_last().await;
    assert_eq!((code, &second["since"]), (Some(1), &first["since"]), "{second}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_proves_nothing_of_the_time_before_is_not_gone_on_from() {
    let db = good_database().await;
    let verify = async |since: &str| {
        let command = App::command(["verify", "--since", since, "-o", "json"]);
        let (status, output) = command.env("DATABASE_URL", &db.url).run().await;
        (status.code(), output)
    };
    // A part of somebody's own choice, and what was found while the clock was a month ahead.
    assert_eq!(verify("1s").await.0, Some(0));
    sqlx::query(
        "insert into audit.verifications
           (requested_by, started_at, ended_at, holds, violations, report)
         select 'cli:ada', moment, moment, true, 0, '{}'
         from (values (now() + interval '30 days')) as ahead (moment)",
    )
    .execute(&db.pool)
    .await
    .unwrap();

    let (code, output) = verify("last").await;
    let report: serde_json::Value = serde_json::from_str(&output).expect(&output);
    assert_eq!((code, &report["since"]), (Some(0), &serde_json::Value::Null), "{report}");

    let (code, output) = verify("2199-01-01T00:00:00Z").await;
    assert_eq!(code, Some(2), "{output}");
    assert!(output.contains("--since is still to come"), "{output}");
}

#[test]
fn every_invariant_is_broken_by_a_test() {
    let broken: BTreeSet<&str> = BREAKS.iter().flat_map(|(_, names)| *names).copied().collect();
    let all: BTreeSet<&str> = verify::invariants().map(|invariant| invariant.name).collect();
    assert_eq!(broken, all);
}

/// Runs statements that the database would not let pass, as a bug, a restored backup or a hand
/// could.
async fn break_it(pool: &PgPool, statements: &'static str) {
    let mut tx = pool.begin().await.unwrap();
    sqlx::raw_sql(
        "set local session_replication_role = replica;
         -- To look at the tables that they name would be to wait for who has locked them.
         set local check_function_bodies = off;
         create or replace function currency_of(account uuid) returns text language sql
           as 'select currency from payments.accounts where id = account';
         create or replace function order_of(purpose text) returns text language sql
           as 'select id::text from payments.orders where description = purpose';
         create or replace function end_job(of_order text, into_state queue.finished_state)
           returns void language sql as $$
             with gone as (delete from queue.jobs where args ->> 'order' = of_order returning *),
             attempt as (
               insert into queue.attempts
                 (job_id, attempt, fence, worker_id, started_at, outcome, error)
               select id, 1, nextval('queue.fence'), gen_random_uuid(), now(), 'failed', 'because'
               from gone
             )
             insert into queue.finished_jobs
               (id, queue, kind, priority, attempt, max_attempts, crash_count, state, run_at,
                enqueued_at, args)
             select
               id, queue, kind, priority, 1, max_attempts, 0, into_state, run_at, enqueued_at, args
             from gone
           $$",
    )
    .execute(&mut *tx)
    .await
    .unwrap();
    let done = sqlx::raw_sql(statements).execute(&mut *tx).await;
    done.unwrap_or_else(|error| panic!("{error}: {statements}"));
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_lease_that_has_just_run_out_is_the_rescuers_business() {
    let db = good_database().await;
    break_it(
        &db.pool,
        "update queue.jobs
         set running = true, attempt = 1, fence = nextval('queue.fence'),
           worker_id = gen_random_uuid(), started_at = now(),
           lease_expires_at = now() - interval '50 seconds'
         where args = '{\"transaction\": 15}'",
    )
    .await;
    assert_eq!(found(&check(&db.pool).await), BTreeSet::new());
}

#[tokio::test]
async fn a_transaction_may_outlive_the_finished_job_that_settled_it() {
    let db = good_database().await;
    // What retention leaves of a transaction that was settled the day before the first that is
    // kept.
    break_it(
        &db.pool,
        "update payments.transactions
         set created_at = created_at - interval '1 day',
           processed_at = processed_at - interval '1 day'
         where id = 3;
         delete from queue.finished_jobs where args = '{\"transaction\": 3}'",
    )
    .await;
    assert_eq!(found(&check(&db.pool).await), BTreeSet::new());
}

#[tokio::test]
async fn an_order_may_outlive_the_finished_job_that_executed_it() {
    let db = good_database().await;
    break_it(
        &db.pool,
        "update payments.orders
         set created_at = created_at - interval '1 day',
           finished_at = finished_at - interval '1 day'
         where description = 'kept';
         delete from queue.finished_jobs where args ->> 'order' = order_of('kept')",
    )
    .await;
    assert_eq!(found(&check(&db.pool).await), BTreeSet::new());
}

#[tokio::test]
async fn whoever_enquires_at_the_bank_sees_to_an_order_whose_job_was_discarded() {
    let db = good_database().await;
    let resolving = "
        select end_job(order_of('withdrawing'), 'discarded');
        insert into queue.jobs (kind, queue, args)
        select 'resolve_bank_order', queue,
          jsonb_build_object('job', id, 'kind', kind, 'args', args)
        from queue.finished_jobs where args ->> 'order' = order_of('withdrawing')";
    break_it(&db.pool, resolving).await;
    assert_eq!(found(&check(&db.pool).await), BTreeSet::new());

    // And it may come first where an operator has the discarded one run again meanwhile.
    let run_again = "
        delete from queue.finished_jobs where args ->> 'order' = order_of('withdrawing');
        insert into queue.jobs (kind, queue, attempt, args)
        select 'execute_bank_order', queue, 1, args -> 'args'
        from queue.jobs where kind = 'resolve_bank_order';
        update queue.attempts set job_id = (
          select id from queue.jobs where args ->> 'order' = order_of('withdrawing'))
        where error = 'because';
        update payments.orders
        set status = 'FAILED', failure_reason = 'bank-unavailable', finished_at = now()
        where description = 'withdrawing';
        update payments.accounts set held = held - 20 where held > 0";
    break_it(&db.pool, run_again).await;
    assert_eq!(found(&check(&db.pool).await), BTreeSet::new());
}

#[tokio::test]
async fn the_first_attempts_of_a_job_may_have_been_dropped_by_retention() {
    let db = good_database().await;
    break_it(
        &db.pool,
        "update queue.finished_jobs set enqueued_at = enqueued_at - interval '1 day'
         where id = 1000;
         delete from queue.attempts where job_id = 1000 and attempt = 1",
    )
    .await;
    assert_eq!(found(&check(&db.pool).await), BTreeSet::new());
}

#[tokio::test]
async fn samples_lead_to_the_broken_rows() {
    let db = good_database().await;
    break_it(&db.pool, "delete from queue.finished_jobs where kind = 'settle_transaction'").await;
    let report = check(&db.pool).await;
    let finding = report
        .findings()
        .iter()
        .find(|finding| finding.invariant.name == "transactions-have-one-settle-job")
        .unwrap();
    assert_eq!((finding.violations, finding.samples.len()), (14, 5));
    assert!(finding.samples[0].starts_with("transaction 1 (tx_"), "{:?}", finding.samples);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_passes_at_every_moment_of_a_database_at_work() {
    let db = TestDb::new().await;
    let pool = db.pool.clone();
    let work = tokio::spawn(async move {
        for round in 0..10 {
            for number in 0..40 {
                accepted(&pool, &format!("payer-{number}"), &format!("shop-{round}"), "1 USD")
                    .await;
            }
            run_jobs(&pool).await;
        }
    });
    let mut checks = 0;
    while !work.is_finished() {
        assert_eq!(found(&check(&db.pool).await), BTreeSet::new());
        checks += 1;
    }
    work.await.unwrap();
    assert_eq!(found(&check(&db.pool).await), BTreeSet::new());
    assert!(checks > 1, "it was checked {checks} times at work");
    assert_eq!(count(&db.pool, "select count(*) from payments.transfers").await, 400);
}

#[tokio::test]
async fn all_invariants_are_checked_as_of_one_moment() {
    let db = good_database().await;
    // Stops the checks after the first has begun.
    let mut gate = db.pool.begin().await.unwrap();
    sqlx::raw_sql("lock table queue.jobs").execute(&mut *gate).await.unwrap();
    let pool = db.pool.clone();
    let report = tokio::spawn(async move { check(&pool).await });
    wait_for_locks(&db.pool, 1).await;
    break_it(&db.pool, "update payments.accounts set version = version + 1").await;
    gate.rollback().await.unwrap();

    assert_eq!(found(&report.await.unwrap()), BTreeSet::new());
    assert_eq!(found(&check(&db.pool).await), BTreeSet::from(["versions-count-entries"]));
}

#[tokio::test]
async fn the_command_prints_a_line_per_invariant_and_exits_0_when_all_hold() {
    let db = good_database().await;
    let command = App::command(["verify"]).env("DATABASE_URL", &db.url);
    let (status, output) = command.run().await;
    assert_eq!(status.code(), Some(0), "{output}");
    let ok = output.lines().filter(|line| line.starts_with("ok ")).count();
    assert_eq!(ok, verify::invariants().count(), "{output}");
}

#[tokio::test]
async fn the_command_says_what_is_broken_and_exits_1() {
    let db = good_database().await;
    break_it(&db.pool, "update payments.accounts set version = 9 where external_ref = 'payer-2'")
        .await;
    let (status, output) = App::command(["verify"]).env("DATABASE_URL", &db.url).run().await;
    assert_eq!(status.code(), Some(1), "{output}");
    let failures: Vec<&str> = output.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert_eq!(failures.len(), 1, "{output}");
    assert!(failures[0].contains("1 row (account "), "{output}");

    let (status, output) =
        App::command(["verify", "--json"]).env("DATABASE_URL", &db.url).run().await;
    assert_eq!(status.code(), Some(1), "{output}");
    let json: serde_json::Value = serde_json::from_str(&output).expect(&output);
    assert_eq!(json["holds"], false);
    let failed: Vec<_> = json["invariants"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|invariant| invariant["status"] == "fail")
        .map(|invariant| invariant["name"].as_str().unwrap())
        .collect();
    assert_eq!(failed, ["versions-count-entries"]);
}

#[tokio::test]
async fn the_command_exits_2_when_it_cannot_check() {
    let nowhere = "postgres://nobody@127.0.0.1:1/nothing";
    let (status, output) = App::command(["verify"]).env("DATABASE_URL", nowhere).run().await;
    assert_eq!(status.code(), Some(2), "{output}");

    let db = TestDb::without_schema().await;
    let (status, output) = App::command(["verify"]).env("DATABASE_URL", &db.url).run().await;
    assert_eq!(status.code(), Some(2), "{output}");
    assert!(output.contains("app migrate run"), "{output}");
}
