//! What the database refuses by itself, whoever writes: the second line behind the code.

use sqlx::{AssertSqlSafe, PgPool};
use surety::ids::{AccountId, TransactionId, TransferId};
use surety::payments::transfers::{NewTransfer, Reason};

use crate::support::TestDb;
use crate::support::ledger::{external, money, post, transaction};

/// A ledger with one settled transaction of 5 USD from `a` to `b`.
struct Ledger {
    db: TestDb,
    a: AccountId,
    b: AccountId,
    transfer: TransferId,
    transaction: TransactionId,
}

impl Ledger {
    async fn new() -> Self {
        let db = TestDb::new().await;
        let mut conn = db.pool.acquire().await.unwrap();
        let id = transaction(&mut conn, "a", "b", "5 USD").await;
        let (a, b) = (external(&db.pool, "a", "USD").await, external(&db.pool, "b", "USD").await);
        let settling = NewTransfer {
            reason: Reason::Transaction(id),
            source: a,
            destination: b,
            money: money("5 USD"),
        };
        let transfer = post(&db.pool, &[settling]).await.unwrap()[0].unwrap();
        drop(conn);
        Self { db, a, b, transfer, transaction: id }
    }

    /// The constraint or the code by which the database refuses a statement; panics if it does not.
    async fn refusal(&self, statement: String) -> String {
        refusal(&self.db.pool, statement).await
    }
}

async fn refusal(pool: &PgPool, statement: String) -> String {
    let result = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(pool).await;
    let error = result.expect_err(&format!("not refused: {statement}"));
    let error = error.as_database_error().expect("the database refused").to_owned();
    error.constraint().map(str::to_owned).or(error.code().map(String::from)).unwrap()
}

const RESTRICT_VIOLATION: &str = "23001";

#[tokio::test]
async fn entries_and_transfers_cannot_be_changed_or_deleted() {
    let ledger = Ledger::new().await;
    for statement in [
        "update payments.entries set amount = amount * 2",
        "update payments.entries set created_at = now() where false",
        "delete from payments.entries",
        "truncate payments.entries",
        "update payments.transfers set amount = amount * 2",
        "delete from payments.transfers",
        "truncate payments.transfers",
    ] {
        assert_eq!(ledger.refusal(statement.into()).await, RESTRICT_VIOLATION, "{statement}");
    }
}

#[tokio::test]
async fn accounts_cannot_be_deleted_nor_become_others() {
    let ledger = Ledger::new().await;
    for statement in [
        "delete from payments.accounts",
        "truncate payments.accounts",
        "update payments.accounts set id = gen_random_uuid()",
        "update payments.accounts set external_ref = 'mallory'",
        "update payments.accounts set currency = 'EUR'",
    ] {
        assert_eq!(ledger.refusal(statement.into()).await, RESTRICT_VIOLATION, "{statement}");
    }
}

#[tokio::test]
async fn what_a_provider_told_us_cannot_be_changed_or_deleted() {
    let ledger = Ledger::new().await;
    for statement in [
        "delete from payments.transactions",
        "truncate payments.transactions cascade",
        "update payments.transactions set amount = 6",
        "update payments.transactions set source_account = 'mallory'",
        "update payments.transactions set destination_account = 'mallory'",
        "update payments.transactions set currency = 'EUR'",
        "update payments.transactions set transaction_id = 'another'",
        "update payments.transactions set body = 'another'",
    ] {
        assert_eq!(ledger.refusal(statement.into()).await, RESTRICT_VIOLATION, "{statement}");
    }
}

/// Inserts a transfer of 7 USD from `a` to `b`, and these entries for it, as one commit.
fn with_entries(ledger: &Ledger, entries: &str) -> String {
    let Ledger { a, b, .. } = ledger;
    format!(
        "insert into payments.transfers
           (id, source_account_id, destination_account_id, amount, currency)
           values ('00000000-0000-0000-0000-000000000007', '{a}', '{b}', 7, 'USD');
         insert into payments.entries
           (transfer_id, account_id, account_version, amount, balance_after)
           select '00000000-0000-0000-0000-000000000007', account_id, version, amount, 0
           from (values {entries}) as entry (account_id, version, amount)"
    )
}

#[tokio::test]
async fn entries_that_are_not_the_two_sides_of_their_transfer_are_refused() {
    let ledger = Ledger::new().await;
    let c = external(&ledger.db.pool, "c", "USD").await;
    let Ledger { a, b, .. } = &ledger;
    for entries in [
        format!("('{a}'::uuid, 2, -7)"),
        format!("('{a}'::uuid, 2, -7), ('{b}', 2, 6.9999)"),
        format!("('{a}'::uuid, 2, -6), ('{b}', 2, 6)"),
        format!("('{a}'::uuid, 2, 7), ('{b}', 2, -7)"),
        format!("('{a}'::uuid, 2, -7), ('{c}', 1, 7)"),
        format!("('{c}'::uuid, 1, 0), ('{c}', 2, 0)"),
        format!("('{a}'::uuid, 2, -7), ('{b}', 2, 7), ('{c}', 1, 0)"),
    ] {
        let refusal = ledger.refusal(with_entries(&ledger, &entries)).await;
        assert!(
            ["entries_are_the_two_sides", "entries_side_key"].contains(&refusal.as_str()),
            "{refusal}: {entries}"
        );
    }
}

#[tokio::test]
async fn the_two_sides_are_accepted() {
    let ledger = Ledger::new().await;
    let entries = format!("('{}'::uuid, 2, -7), ('{}', 2, 7)", ledger.a, ledger.b);
    let statement = with_entries(&ledger, &entries);
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&ledger.db.pool).await.unwrap();
}

#[tokio::test]
async fn a_transfer_gets_no_second_pair_of_entries() {
    let ledger = Ledger::new().await;
    let Ledger { a, b, transfer, .. } = &ledger;
    let second = format!(
        "insert into payments.entries
           (transfer_id, account_id, account_version, amount, balance_after)
         values ('{transfer}', '{a}', 2, -5, -10), ('{transfer}', '{b}', 2, 5, 10)"
    );
    assert_eq!(ledger.refusal(second).await, "entries_side_key");
}

#[tokio::test]
async fn entries_of_no_transfer_are_refused() {
    let ledger = Ledger::new().await;
    let orphans = format!(
        "insert into payments.entries
           (transfer_id, account_id, account_version, amount, balance_after)
         values (gen_random_uuid(), '{}', 2, 0, 0)",
        ledger.a
    );
    assert_eq!(ledger.refusal(orphans).await, "entries_are_the_two_sides");
}

#[tokio::test]
async fn an_entry_cannot_take_the_version_of_another() {
    let ledger = Ledger::new().await;
    let lost_update = format!("('{}'::uuid, 1, -7), ('{}', 2, 7)", ledger.a, ledger.b);
    assert_eq!(ledger.refusal(with_entries(&ledger, &lost_update)).await, "entries_pkey");
}

#[tokio::test]
async fn a_transfer_that_does_not_fit_its_accounts_or_transaction_is_refused() {
    let ledger = Ledger::new().await;
    let euros = external(&ledger.db.pool, "a", "EUR").await;
    let mut conn = ledger.db.pool.acquire().await.unwrap();
    let open = transaction(&mut conn, "a", "b", "9 USD").await;
    let Ledger { a, b, transaction, .. } = &ledger;
    for (source, destination, amount, currency, settles, expected) in [
        (a, &euros, "5", "USD", None, "transfers_fit"),
        (&euros, b, "5", "EUR", None, "transfers_fit"),
        (a, b, "5", "EUR", None, "transfers_fit"),
        (a, &AccountId(uuid::Uuid::now_v7()), "5", "USD", None, "transfers_fit"),
        (a, b, "8.99", "USD", Some(open), "transfers_fit"),
        (a, b, "9", "USD", Some(TransactionId(i64::MAX)), "transfers_fit"),
        (a, b, "5", "USD", Some(*transaction), "transfers_transaction_key"),
        (a, a, "5", "USD", None, "transfers_between_two_accounts"),
        (a, b, "0", "USD", None, "transfers_amount_is_positive"),
        (a, b, "-5", "USD", None, "transfers_amount_is_positive"),
    ] {
        let settles = settles.map_or("null".to_owned(), |id| id.to_string());
        let insert = format!(
            "insert into payments.transfers
               (id, transaction_id, source_account_id, destination_account_id, amount, currency)
             values
               (gen_random_uuid(), {settles}, '{source}', '{destination}', {amount}, '{currency}')"
        );
        assert_eq!(ledger.refusal(insert.clone()).await, expected, "{insert}");
    }
}

#[tokio::test]
async fn a_balance_below_its_floor_is_refused() {
    let ledger = Ledger::new().await;
    let below = "update payments.accounts set floor = balance + 0.0001".to_owned();
    assert_eq!(ledger.refusal(below).await, "accounts_available_above_floor");
}
