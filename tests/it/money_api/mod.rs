//! The operations on users' money, over the real API: what each answers, and that a refusal changes
//! nothing.

mod bodies;
mod deposits_withdrawals;
mod finality;
mod statements;
mod transfers;
mod user_money;
mod wallets;

use serde_json::Value;
use surety::http::edge::rate_limits::Limit;

use crate::support::{Answer, TestApi};

/// An API that answers as often as a test asks.
async fn start() -> TestApi {
    TestApi::start_with(|api| {
        api.limits.limit_balance = Limit::Off;
        api.limits.limit_transaction_list = Limit::Off;
        api.limits.limit_api = Limit::Off;
    })
    .await
}

/// All that there is of money: accounts, orders, movements, and the jobs that would move more.
async fn all_money(api: &TestApi) -> String {
    sqlx::query_scalar(
        "
        select concat_ws(e'\\n',
          (select string_agg(it::text, '|' order by id) from payments.accounts as it),
          (select string_agg(it::text, '|' order by id) from payments.orders as it),
          (select string_agg(it::text, '|' order by id) from payments.transfers as it),
          (select string_agg(it::text, '|' order by it::text) from payments.entries as it),
          (select count(*) from queue.all_jobs)
        )
        ",
    )
    .fetch_one(&api.pool)
    .await
    .unwrap()
}

/// Status and code of a refusal.
fn refusal(answer: &Answer) -> (u16, String) {
    (answer.status, answer.code())
}

/// A refusal without what names the request.
fn anonymous(answer: &Answer) -> (u16, Value) {
    let mut body = answer.json();
    body.as_object_mut().unwrap().retain(|key, _| key != "instance" && key != "request_id");
    (answer.status, body)
}
