//! The examples in the document: what goes in and what comes out when all is well, and what each
//! refusal looks like.

use serde_json::{Value, json};

use super::{audit_examples, operator_examples, system_examples};

use crate::http::wire::problem::{Code, FieldError, Problem};

/// An example of a cursor.
pub(super) const CURSOR: &str = "AAAAAAAAAC7yK1bQ4F0mRz0Q8sJtV9xk";
const USER_ID: &str = "019a3f5e-8c21-7d40-9b6e-2f1c0a7d5e93";
const ORDER_ID: &str = "019a3f60-11d7-7b02-8f4e-0c9d5b7a6e21";
/// The error of a dead letter's last attempt.
const GIVEN_UP: &str = "the bank did not take it: 503 not_accepted";
pub(super) const AT: &str = "2026-11-02T09:30:00.123456Z";

/// The bodies of a request that is granted and of its answer.
#[derive(Default)]
pub(super) struct Exchange {
    /// The body that is sent, where there is one.
    pub(super) request: Option<Value>,
    /// The body of the answer, where it has one.
    pub(super) answer: Option<Value>,
}

/// The example of an operation.
pub(super) fn of_operation(id: &str) -> Exchange {
    let answer = |answer| Exchange { request: None, answer: Some(answer) };
    match id {
        "receive_transaction" => Exchange {
            request: Some(transaction()),
            answer: Some(json!({ "message": "accepted" })),
        },
        "get_transaction" => answer(stored_transaction()),
        "list_transactions" => {
            answer(json!({ "transactions": [stored_transaction()], "next_cursor": CURSOR }))
        }
        "sign_in" => Exchange {
            request: Some(json!({ "email": "ada@example.com", "password": PASSWORD })),
            answer: Some(access()),
        },
        "create_user" => Exchange {
            request: Some(
                json!({ "email": "ada@example.com", "password": PASSWORD, "currency": "USD" }),
            ),
            answer: Some(user()),
        },
        "get_user" => answer(user()),
        "list_users" => answer(json!({ "users": [user()], "next_cursor": CURSOR })),
        "change_password" => Exchange {
            request: Some(
                json!({ "current_password": PASSWORD, "new_password": "seven slow herons" }),
            ),
            answer: None,
        },
        "change_user" => {
            let mut suspended = user();
            suspended["status"] = json!("suspended");
            Exchange { request: Some(json!({ "status": "suspended" })), answer: Some(suspended) }
        }
        "list_dead_letters" => {
            answer(json!({ "dead_letters": [dead_letter()], "next_cursor": CURSOR }))
        }
        "get_dead_letter" => answer(dead_letter_details(&json!([]))),
        "redrive_dead_letter" => Exchange {
            request: Some(json!({ "reason": "the bank is back" })),
            answer: Some(dead_letter_details(&json!([decision("redriven", "the bank is back")]))),
        },
        "write_off_dead_letter" => {
            let reason = "the bank says that it has not paid, case 4711";
            Exchange {
                request: Some(json!({ "reason": reason })),
                answer: Some(dead_letter_details(&json!([decision("written_off", reason)]))),
            }
        }
        id => system_examples::of_operation(id).map_or_else(|| of_money_operation(id), answer),
    }
}

/// The example of an operation on what users have.
fn of_money_operation(id: &str) -> Exchange {
    let answer = |answer| Exchange { request: None, answer: Some(answer) };
    let asked = |request, answer| Exchange { request: Some(request), answer: Some(answer) };
    match id {
        "open_wallet" => asked(json!({ "currency": "USD" }), wallet()),
        "list_wallets" => answer(json!({ "wallets": [wallet()] })),
        "get_wallet" | "close_wallet" => answer(wallet()),
        "get_wallet_balance" => answer(json!({
            "wallet_id": WALLET_ID, "balance": "250.00", "currency": "USD", "at": AT,
        })),
        "list_wallet_entries" => {
            answer(json!({ "entries": [wallet_entry()], "next_cursor": CURSOR }))
        }
        "get_wallet_statement" => answer(json!(STATEMENT)),
        "get_user_balance" => answer(json!({
            "user_id": USER_ID, "balance": "250.00", "available": "210.00", "currency": "USD",
            "wallets": [wallet()],
        })),
        "list_user_transactions" | "list_deposits" => {
            answer(json!({ "orders": [deposit()], "next_cursor": CURSOR }))
        }
        "create_deposit" => asked(over_wallet(), taken(deposit())),
        "get_deposit" => answer(deposit()),
        "create_withdrawal" => asked(over_wallet(), taken(withdrawal())),
        "get_withdrawal" => answer(withdrawal()),
        "list_withdrawals" => answer(json!({ "orders": [withdrawal()], "next_cursor": CURSOR })),
        "create_transfer" => asked(
            json!({
                "source_wallet_id": WALLET_ID,
                "destination_wallet_id": OTHER_WALLET_ID,
                "amount": "40.00",
                "currency": "USD",
                "description": "My half of the rent",
            }),
            taken(transfer()),
        ),
        "get_transfer" => answer(transfer()),
        "list_transfers" => answer(json!({ "orders": [transfer()], "next_cursor": CURSOR })),
        "refund_transfer" => answer(taken(refund())),
        id => audit_examples::of_operation(id),
    }
}

const PASSWORD: &str = "three otters on a raft";

const WALLET_ID: &str = "019a3f5e-8c2a-7be1-8a55-0c8f4b7d1e20";
const OTHER_WALLET_ID: &str = "019a3f61-02d7-7c44-b1a9-6f3e5d2c9b81";
const TRANSFER_ID: &str = "019a3f70-4d1f-7f02-93c8-5b6a7e8d9f10";
const STATEMENT: &str = "\
number,time,description,in,out,balance,currency,order_id\r
,2026-11-01T00:00:00Z,opening balance,,,0.00,USD,\r
1,2026-11-02T09:30:00.123456Z,,250.00,,250.00,USD,019a3f6a-11b4-7d83-8e0f-2a4c6e8b0d12\r
,2026-12-01T00:00:00Z,closing balance,,,250.00,USD,\r
";

fn wallet() -> Value {
    json!({
        "id": WALLET_ID,
        "user_id": USER_ID,
        "currency": "USD",
        "balance": "250.00",
        "available": "210.00",
        "version": 3,
        "created_at": AT,
        "closed_at": null,
    })
}

fn wallet_entry() -> Value {
    json!({
        "number": 1,
        "amount": "250.00",
        "balance_after": "250.00",
        "order_id": deposit()["id"],
        "description": null,
        "created_at": AT,
    })
}

/// The body of a deposit or a withdrawal.
fn over_wallet() -> Value {
    json!({ "wallet_id": WALLET_ID, "amount": "250.00", "currency": "USD" })
}

fn deposit() -> Value {
    json!({
        "id": "019a3f6a-11b4-7d83-8e0f-2a4c6e8b0d12",
        "type": "deposit",
        "wallet_id": WALLET_ID,
        "source_wallet_id": null,
        "destination_wallet_id": WALLET_ID,
        "refund_of": null,
        "amount": "250.00",
        "currency": "USD",
        "description": null,
        "status": "COMPLETED",
        "failure_reason": null,
        "bank_reference": "bank-7f3a09",
        "created_at": AT,
        "finished_at": "2026-11-02T09:30:02.508231Z",
    })
}

fn withdrawal() -> Value {
    let mut order = deposit();
    order["id"] = json!("019a3f6c-7a90-7e15-a2d4-9c1b3e5f7a06");
    order["type"] = json!("withdrawal");
    order["source_wallet_id"] = json!(WALLET_ID);
    order["destination_wallet_id"] = Value::Null;
    order
}

fn transfer() -> Value {
    let mut order = deposit();
    order["id"] = json!(TRANSFER_ID);
    order["type"] = json!("transfer");
    order["wallet_id"] = Value::Null;
    order["source_wallet_id"] = json!(WALLET_ID);
    order["destination_wallet_id"] = json!(OTHER_WALLET_ID);
    order["amount"] = json!("40.00");
    order["description"] = json!("My half of the rent");
    order["bank_reference"] = Value::Null;
    order
}

fn refund() -> Value {
    let mut order = transfer();
    order["id"] = json!("019a3f75-90ae-7b3c-8d21-4e6f8a0c2b54");
    order["type"] = json!("refund");
    order["source_wallet_id"] = json!(OTHER_WALLET_ID);
    order["destination_wallet_id"] = json!(WALLET_ID);
    order["refund_of"] = json!(TRANSFER_ID);
    order["description"] = Value::Null;
    order
}

/// An order at the moment that it is taken.
fn taken(mut order: Value) -> Value {
    order["status"] = json!("PENDING");
    order["bank_reference"] = Value::Null;
    order["finished_at"] = Value::Null;
    order
}

fn transaction() -> Value {
    json!({
        "transaction_id": "txn_1001",
        "source_account": "acc_user_789",
        "destination_account": "acc_merchant_456",
        "amount": "1500.00",
        "currency": "USD",
    })
}

pub(super) fn stored_transaction() -> Value {
    let mut stored = transaction();
    stored["status"] = json!("COMPLETED");
    stored["failure_reason"] = Value::Null;
    stored["created_at"] = json!(AT);
    stored["processed_at"] = json!("2026-11-02T09:30:00.145012Z");
    stored
}

fn access() -> Value {
    json!({
        "access_token": "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiIsImtpZCI6IjEifQ.e30.c2lnbmF0dXJl",
        "token_type": "Bearer",
        "expires_in": 1800,
        "user_id": USER_ID,
    })
}

fn user() -> Value {
    json!({
        "id": USER_ID,
        "email": "ada@example.com",
        "role": "user",
        "status": "active",
        "default_currency": "USD",
        "created_at": AT,
        "updated_at": AT,
    })
}

fn dead_letter() -> Value {
    json!({
        "job_id": 812,
        "kind": "execute_bank_order",
        "queue": "bank",
        "attempt": 4,
        "max_attempts": 4,
        "enqueued_at": AT,
        "discarded_at": "2026-11-02T09:31:27.004410Z",
        "args": { "order": ORDER_ID },
        "error": GIVEN_UP,
    })
}

fn dead_letter_details(decisions: &Value) -> Value {
    let mut details = dead_letter();
    let fields = details.as_object_mut().expect("it is an object");
    let (ended_at, error) = (fields.remove("discarded_at"), fields.remove("error"));
    details["is_open"] = json!(decisions == &json!([]));
    details["finished_at"] = json!(ended_at);
    details["attempts"] = json!([{
        "attempt": 4, "started_at": AT, "ended_at": ended_at, "outcome": "failed", "error": error,
    }]);
    details["decisions"] = decisions.clone();
    details["order"] = withdrawal();
    details
}

fn decision(decision: &str, reason: &str) -> Value {
    json!({
        "decision": decision,
        "attempt": 4,
        "decided_by": format!("user:{USER_ID}"),
        "reason": reason,
        "decided_at": "2026-11-02T10:02:11.730912Z",
    })
}

/// The example of a refusal.
pub(super) fn of_problem(code: Code) -> Value {
    let field = |pointer: &str, code: &str, detail: &str| FieldError {
        pointer: pointer.to_owned(),
        code: code.to_owned(),
        detail: detail.to_owned(),
    };
    let errors = match code {
        Code::MissingFields => vec![field("#/amount", "missing", "amount is required")],
        Code::InvalidFields => vec![field("#/amount", "wrong-type", "amount must be a number")],
        Code::UnacceptableValues => {
            vec![field("#/currency", "unknown-currency", "currency is not a currency in use")]
        }
        Code::InvalidParameter => vec![field("?limit", "invalid", "must be at most 200")],
        Code::NotReady => vec![field("database", "away", "The database does not answer.")],
        Code::JobUnsuitable => vec![field("job", "running", "it runs: wait, or cancel it")],
        _ => Vec::new(),
    };
    let user = format!("/v1/users/{USER_ID}");
    let wallet = format!("/v1/wallets/{WALLET_ID}");
    let refund = format!("/v1/transfers/{TRANSFER_ID}/refund");
    let path = match code {
        Code::TransactionNotFound => "/v1/transactions/txn_1001",
        Code::NotSealed => "/v1/transactions/txn_1001/proof",
        Code::InvalidParameter | Code::InvalidCursor => "/v1/transactions",
        Code::InvalidCredentials => "/v1/auth/login",
        Code::EmailTaken => "/v1/users",
        Code::Unauthenticated
        | Code::Forbidden
        | Code::UserNotFound
        | Code::LastAdmin
        | Code::UserNotSettled => &user,
        Code::WalletNotFound | Code::WalletNotEmpty => &wallet,
        Code::OrderNotFound
        | Code::InsufficientFunds
        | Code::CurrencyMismatch
        | Code::SameWallet
        | Code::WalletClosed
        | Code::PreconditionFailed
        | Code::InvalidIfMatch
        | Code::IdempotencyKeyMissing
        | Code::InvalidIdempotencyKey
        | Code::IdempotencyKeyInUse
        | Code::IdempotencyKeyReused => "/v1/transfers",
        Code::AlreadyRefunded | Code::NotRefundable => &refund,
        other => operator_examples::path_of(other).unwrap_or("/v1/webhooks/transactions"),
    };
    let body = Problem::new(code).errors(errors).body(path);
    serde_json::from_slice(&body).expect("a problem is JSON")
}

/// The example of an operation's parameter.
pub(super) fn of_parameter(operation: &str, name: &str) -> Option<Value> {
    if let Some(example) = operator_examples::of_parameter(operation, name) {
        return Some(example);
    }
    Some(match (operation, name) {
        ("list_users", "status") => json!("active"),
        (_, "transaction_id") => json!("txn_1001"),
        (_, "job_id") => json!(812),
        ("list_dead_letters", "kind") => json!("execute_bank_order"),
        (_, "webhook-id") => json!("msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"),
        (_, "webhook-timestamp") => json!("1793612400"),
        (_, "webhook-signature") => json!("v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="),
        (_, "user_id") => json!(USER_ID),
        (_, "wallet_id") => json!(WALLET_ID),
        (_, "deposit_id") => deposit()["id"].clone(),
        (_, "withdrawal_id") => withdrawal()["id"].clone(),
        (_, "transfer_id") => json!(TRANSFER_ID),
        (_, "Idempotency-Key") => json!("8e03978e-40d5-43e8-bc93-6894a57f9324"),
        (_, "If-Match") => json!("\"3\""),
        (_, "at" | "from") => json!("2026-11-01T00:00:00Z"),
        (_, "until") => json!("2026-12-01T00:00:00Z"),
        (_, "email") => json!("ada@example.com"),
        (_, "role") => json!("user"),
        (_, "status") => json!("COMPLETED"),
        (_, "currency") => json!("USD"),
        (_, "account") => json!("acc_user_789"),
        (_, "created_from") => json!("2026-11-01T00:00:00Z"),
        (_, "created_before") => json!("2026-12-01T00:00:00Z"),
        (_, "limit") => json!(50),
        (_, "span") => json!("1h"),
        (_, "queue") => json!("default"),
        (_, "kind") => json!("settle_transaction"),
        (_, "cursor") => json!(CURSOR),
        (_, name) => return audit_examples::of_parameter(name),
    })
}
