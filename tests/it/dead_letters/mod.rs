//! Dead letters: what was given up, what operators decide over it, and where its money is then.

mod commands;
mod decisions;
mod redaction;
mod resolving;

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;
use surety::identity::Role;
use surety::ids::OrderId;
use surety::operations::verify;

use crate::support::money::{Customer, between, discard_job, over};
use crate::support::{Answer, Person, SimulatedBank, TestApi};

/// An API, a bank that refuses everything, an operator who reads, an admin who decides, and a
/// customer with 100 dollars.
struct World {
    api: TestApi,
    bank: SimulatedBank,
    operator: Person,
    admin: Person,
    customer: Customer,
}

impl World {
    async fn new() -> Self {
        let api = TestApi::start().await;
        let bank = SimulatedBank::start(json!({})).await;
        let [operator, admin] =
            [Person::new(&api, Role::Operator).await, Person::new(&api, Role::Admin).await];
        let customer = Customer::new(&api).await;
        let world = Self { api, bank, operator, admin, customer };
        world.bank.turn(json!({ "success_rate": 1 })).await;
        let deposit = world.order("/v1/deposits", "100 USD").await;
        world.bank.run_jobs(world.pool()).await;
        assert_eq!(world.outcome(deposit).await, ("COMPLETED".to_owned(), None));
        world.bank.turn(json!({ "unavailable_rate": 1 })).await;
        world
    }

    fn pool(&self) -> &PgPool {
        &self.api.pool
    }

    /// A deposit or withdrawal of the customer's.
    async fn order(&self, path: &str, text: &str) -> OrderId {
        let body = over(self.customer.wallet, text);
        let answer = self.customer.order(&self.api, path, &body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        OrderId(answer.json()["id"].as_str().unwrap().parse().unwrap())
    }

    /// A withdrawal of this much that the bank would not take.
    async fn given_up(&self, text: &str) -> (OrderId, i64) {
        let order = self.order("/v1/withdrawals", text).await;
        self.bank.run_until_given_up(self.pool()).await;
        (order, self.job(order).await)
    }

    /// A transfer of this much whose job was given up, as after five crashes: it waits for a
    /// decision, and holds its amount.
    async fn stuck(&self, text: &str) -> (OrderId, i64) {
        let payee = Customer::new(&self.api).await;
        let body = between(self.customer.wallet, payee.wallet, text);
        let answer = self.customer.order(&self.api, "/v1/transfers", &body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let order = OrderId(answer.json()["id"].as_str().unwrap().parse().unwrap());
        let mut conn = self.pool().acquire().await.unwrap();
        discard_job(&mut conn, order).await;
        (order, self.job(order).await)
    }

    /// A withdrawal of 30 dollars of which nobody knows whether the bank has made it: the call
    /// timed out, and then the bank was away. The last attempt and the job that is to find out are
    /// behind it.
    async fn in_doubt(&mut self) -> (OrderId, i64) {
        self.bank.turn(json!({ "timeout_rate": 1 })).await;
        let order = self.order("/v1/withdrawals", "30 USD").await;
        self.bank.run_jobs(self.pool()).await;
        self.bank.stop().await;
        self.bank.run_until_given_up(self.pool()).await;
        assert_eq!(self.outcome(order).await, ("PROCESSING".to_owned(), None));
        (order, self.job(order).await)
    }

    /// The job that executes an order.
    async fn job(&self, order: OrderId) -> i64 {
        sqlx::query_scalar("select id from queue.all_jobs where args ->> 'order' = $1::text")
            .bind(order.to_string())
            .fetch_one(self.pool())
            .await
            .unwrap()
    }

    /// Status and failure reason of an order.
    async fn outcome(&self, order: OrderId) -> (String, Option<String>) {
        sqlx::query_as("select status::text, failure_reason from payments.orders where id = $1")
            .bind(order)
            .fetch_one(self.pool())
            .await
            .unwrap()
    }

    async fn list(&self, query: &str) -> Value {
        let answer = self.operator.get(&self.api, &format!("/v1/dead-letters{query}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// The jobs that are listed.
    async fn listed(&self) -> Vec<i64> {
        let list = self.list("").await;
        let letters = list["dead_letters"].as_array().unwrap().iter();
        letters.map(|letter| letter["job_id"].as_i64().unwrap()).collect()
    }

    async fn show(&self, job: i64) -> Value {
        let answer = self.operator.get(&self.api, &format!("/v1/dead-letters/{job}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    async fn decide(&self, job: i64, what: &str) -> Answer {
        let path = format!("/v1/dead-letters/{job}/{what}");
        let reason = json!({ "reason": "case 4711" });
        self.admin.send(&self.api, "POST", &path, &reason).await
    }

    async fn redrive(&self, job: i64) {
        let answer = self.decide(job, "redrive").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    async fn write_off(&self, job: i64) {
        let answer = self.decide(job, "write-off").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Balance and what is available, of the customer's wallet.
    async fn balance(&self) -> (String, String) {
        self.customer.balance(&self.api).await
    }

    /// Tells if `app verify` finds nothing broken.
    async fn holds(&self) -> bool {
        let mut conn = self.pool().acquire().await.unwrap();
        verify::verify(&mut conn, verify::Scope::Everything, Duration::from_secs(60))
            .await
            .unwrap()
            .holds()
    }

    /// `app verify` finds nothing broken: no hold is left behind, nothing is executed twice.
    async fn verify(&self) {
        let mut conn = self.pool().acquire().await.unwrap();
        let report = verify::verify(&mut conn, verify::Scope::Everything, Duration::from_secs(60))
            .await
            .unwrap();
        let broken = report.findings().iter().filter(|finding| finding.violations > 0);
        let broken: Vec<_> = broken.map(|it| (it.invariant.name, &it.samples)).collect();
        assert!(report.holds(), "{broken:?}");
    }
}

fn pair(balance: &str, available: &str) -> (String, String) {
    (balance.to_owned(), available.to_owned())
}

fn failed(reason: &str) -> (String, Option<String>) {
    ("FAILED".to_owned(), Some(reason.to_owned()))
}

fn is(status: &str) -> (String, Option<String>) {
    (status.to_owned(), None)
}
