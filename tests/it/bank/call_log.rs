//! The log of calls: written before, ended once, changed by nobody.

use sqlx::PgConnection;
use surety::bank::call_log::{
    CallId, CallOperation, CallOutcome, CallResult, Finished, begin, finish, may_have_acted,
};
use surety::bank::{BankError, InvalidAnswer, PaymentStatus, Receipt, Unavailable};

use super::{deposit, key, money};
use crate::support::TestDb;

fn receipt(amount: &str) -> Receipt {
    Receipt { bank_reference: "b-1".to_owned(), money: money(amount) }
}

async fn sent(conn: &mut PgConnection, result: Result<Receipt, BankError>) {
    let call = begin(conn, CallOperation::Send, &deposit("surety-1", "12.50")).await.unwrap();
    finish(conn, call, &CallResult::of_send(&result)).await.unwrap();
}

async fn enquired(conn: &mut PgConnection, result: Result<PaymentStatus, BankError>) {
    let call = begin(conn, CallOperation::Enquire, &deposit("surety-1", "12.50")).await.unwrap();
    finish(conn, call, &CallResult::of_enquiry(&result)).await.unwrap();
}

async fn may_have(conn: &mut PgConnection) -> bool {
    may_have_acted(conn, &key("surety-1")).await.unwrap()
}

async fn row(conn: &mut PgConnection, call: CallId) -> Vec<Option<String>> {
    let columns = "effect_key, operation::text, direction::text, amount::text, currency, \
                   outcome::text, reason, bank_reference, answered_amount::text, answered_currency";
    let query = format!("select array[{columns}] from bank.calls where id = $1");
    sqlx::query_scalar(sqlx::AssertSqlSafe(query)).bind(call.0).fetch_one(conn).await.unwrap()
}

#[tokio::test]
async fn a_call_is_written_before_and_ended_once() {
    let db = TestDb::new().await;
    let conn = &mut *db.pool.acquire().await.unwrap();
    let call = begin(conn, CallOperation::Send, &deposit("surety-1", "12.50")).await.unwrap();
    let some = |text: &str| Some(text.to_owned());
    let asked =
        [some("surety-1"), some("send"), some("deposit"), some("12.5000"), some("EUR")].to_vec();
    assert_eq!(row(conn, call).await, [asked.clone(), vec![None; 5]].concat());

    let wrong = BankError::Malformed(InvalidAnswer::OtherMoney(receipt("12.51")));
    let ending = CallResult::of_send(&Err(wrong));
    assert_eq!(ending.outcome(), CallOutcome::Malformed);
    assert_eq!(finish(conn, call, &ending).await.unwrap(), Finished::Now);
    let answered =
        [some("malformed"), some("other_money"), some("b-1"), some("12.5100"), some("EUR")];
    assert_eq!(row(conn, call).await, [asked, answered.to_vec()].concat());

    let other = CallResult::of_send(&Ok(receipt("12.50")));
    assert_eq!(finish(conn, call, &other).await.unwrap(), Finished::NotOpen);
    assert_eq!(finish(conn, CallId(0), &other).await.unwrap(), Finished::NotOpen);
    assert_eq!(row(conn, call).await[5], some("malformed"));
}

#[tokio::test]
async fn the_log_cannot_be_rewritten() {
    let db = TestDb::new().await;
    let conn = &mut *db.pool.acquire().await.unwrap();
    sent(conn, Ok(receipt("12.50"))).await;
    for statement in [
        "update bank.calls set amount = 1",
        "update bank.calls set effect_key = 'other'",
        "update bank.calls set outcome = 'declined'",
        "update bank.calls set outcome = null, ended_at = null",
        "delete from bank.calls",
        "truncate bank.calls",
    ] {
        let error = sqlx::query(statement).execute(&mut *conn).await.unwrap_err();
        let code = error.as_database_error().unwrap().code().unwrap().into_owned();
        assert_eq!(code, "23001", "{statement}: {error}");
    }
}

#[tokio::test]
async fn what_was_not_sent_cannot_have_acted() {
    let db = TestDb::new().await;
    let conn = &mut *db.pool.acquire().await.unwrap();
    assert!(!may_have(conn).await);
    enquired(conn, Ok(PaymentStatus::Pending)).await;
    assert!(!may_have(conn).await);
    let other = deposit("surety-2", "12.50");
    begin(conn, CallOperation::Send, &other).await.unwrap();
    assert!(!may_have(conn).await);
}

#[tokio::test]
async fn a_send_without_an_outcome_may_have_acted() {
    let db = TestDb::new().await;
    let conn = &mut *db.pool.acquire().await.unwrap();
    begin(conn, CallOperation::Send, &deposit("surety-1", "12.50")).await.unwrap();
    assert!(may_have(conn).await);
}

#[tokio::test]
async fn the_log_says_of_each_error_what_the_error_says() {
    for result in [
        Ok(receipt("12.50")),
        Err(BankError::Declined { reason: "insufficient-funds".to_owned() }),
        Err(BankError::Unavailable(Unavailable::NotConnected)),
        Err(BankError::Unavailable(Unavailable::NotAccepted)),
        Err(BankError::TimedOut),
        Err(BankError::Pending),
        Err(BankError::Malformed(InvalidAnswer::Cut)),
        Err(BankError::Malformed(InvalidAnswer::OtherMoney(receipt("1")))),
    ] {
        let db = TestDb::new().await;
        let conn = &mut *db.pool.acquire().await.unwrap();
        sent(conn, result.clone()).await;
        let expected = result.as_ref().map_or_else(BankError::may_have_acted, |_| true);
        assert_eq!(may_have(conn).await, expected, "{result:?}");
    }
}

#[tokio::test]
async fn only_a_bank_that_knows_nothing_of_it_makes_sending_safe_again() {
    let db = TestDb::new().await;
    let conn = &mut *db.pool.acquire().await.unwrap();
    sent(conn, Err(BankError::TimedOut)).await;
    for enquiry in [
        Err(BankError::TimedOut),
        Err(BankError::Unavailable(Unavailable::NotConnected)),
        Ok(PaymentStatus::Pending),
        Ok(PaymentStatus::Booked(receipt("12.50"))),
    ] {
        enquired(conn, enquiry.clone()).await;
        assert!(may_have(conn).await, "{enquiry:?}");
    }
    enquired(conn, Ok(PaymentStatus::Unknown)).await;
    assert!(!may_have(conn).await);
    // Until it is sent again: an older word says nothing of a newer call.
    begin(conn, CallOperation::Send, &deposit("surety-1", "12.50")).await.unwrap();
    assert!(may_have(conn).await);
}
