//! What operators read and do over HTTP: each write has its effect and leaves an audit entry.

mod jobs;
mod queues;
mod schedules_and_workers;
mod standing;

use serde_json::{Value, json};
use sqlx::PgPool;
use surety::identity::Role;
use surety::queue::{JobId, NewJob, enqueue};

use crate::support::{Answer, Person, TestApi};

/// An API with an operator and an admin.
struct Desk {
    api: TestApi,
    operator: Person,
    admin: Person,
}

const WHY: &str = "case 4711";

impl Desk {
    async fn new() -> Self {
        let api = TestApi::start().await;
        let operator = Person::new(&api, Role::Operator).await;
        let admin = Person::new(&api, Role::Admin).await;
        Self { api, operator, admin }
    }

    fn pool(&self) -> &PgPool {
        &self.api.pool
    }

    /// What the operator reads there.
    async fn read(&self, path: &str) -> Value {
        let answer = self.operator.get(&self.api, path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    /// What the operator is answered there.
    async fn get(&self, path: &str) -> Answer {
        self.operator.get(&self.api, path).await
    }

    /// What the operator is answered to a change with a reason.
    async fn post(&self, path: &str) -> Answer {
        self.operator.send(&self.api, "POST", path, &json!({ "reason": WHY })).await
    }

    /// The same of the admin.
    async fn post_as_admin(&self, path: &str) -> Answer {
        self.admin.send(&self.api, "POST", path, &json!({ "reason": WHY })).await
    }

    /// The entries of the audit log with this action: who, about what, and why.
    async fn audited(&self, action: &str) -> Vec<(String, String, Option<String>)> {
        sqlx::query_as(
            "select actor, subject_id, reason from audit.entries where action = $1 order by seq",
        )
        .bind(action)
        .fetch_all(self.pool())
        .await
        .unwrap()
    }

    /// The one entry that the operator leaves about a thing.
    fn by_operator(&self, subject: impl ToString) -> Vec<(String, String, Option<String>)> {
        vec![(format!("user:{}", self.operator.id), subject.to_string(), Some(WHY.to_owned()))]
    }

    fn by_admin(&self, subject: impl ToString) -> Vec<(String, String, Option<String>)> {
        vec![(format!("user:{}", self.admin.id), subject.to_string(), Some(WHY.to_owned()))]
    }

    /// A job of a kind that no worker knows.
    async fn job(&self, change: impl FnOnce(NewJob) -> NewJob) -> JobId {
        let mut tx = self.pool().begin().await.unwrap();
        let job = change(NewJob::raw("report", json!({ "pages": 3 })));
        let id = enqueue(&mut tx, job).await.unwrap().id();
        tx.commit().await.unwrap();
        id
    }

    async fn execute(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(self.pool()).await.unwrap();
    }
}

/// The numbers of the jobs of a page.
fn ids(page: &Value) -> Vec<i64> {
    page["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_i64().unwrap()).collect()
}

fn refused(answer: &Answer) -> (u16, String) {
    (answer.status, answer.code())
}
