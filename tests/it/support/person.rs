//! Users who have signed in.

use serde_json::json;
use surety::identity::Role;
use uuid::Uuid;

use super::{Answer, TestApi, send};

/// The password of every user of the tests.
pub(crate) const PASSWORD: &str = "three otters on a raft";

/// A user, signed in.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) id: Uuid,
    pub(crate) email: String,
    pub(crate) token: String,
}

impl Person {
    /// A new user with this role.
    pub(crate) async fn new(api: &TestApi, role: Role) -> Self {
        let email = format!("{}@example.com", Uuid::new_v4().simple());
        let body = json!({ "email": email, "password": PASSWORD, "currency": "USD" });
        let made = send(api.request("POST", "/v1/users").json(&body)).await;
        assert_eq!(made.status, 201, "{made:?}");
        let id: Uuid = made.json()["id"].as_str().unwrap().parse().unwrap();
        sqlx::query("update identity.users set role = $2 where id = $1")
            .bind(id)
            .bind(role)
            .execute(&api.pool)
            .await
            .unwrap();
        let token = sign_in(api, &email, PASSWORD).await;
        Self { id, email, token }
    }

    /// What this user gets from a path.
    pub(crate) async fn get(&self, api: &TestApi, path: &str) -> Answer {
        send(api.request("GET", path).bearer_auth(&self.token)).await
    }

    /// What this user is answered to a request with this body.
    pub(crate) async fn send(
        &self,
        api: &TestApi,
        method: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> Answer {
        send(api.request(method, path).bearer_auth(&self.token).json(body)).await
    }

    /// The path of this user.
    pub(crate) fn path(&self) -> String {
        format!("/v1/users/{}", self.id)
    }
}

/// The token of a sign-in that must succeed.
pub(crate) async fn sign_in(api: &TestApi, email: &str, password: &str) -> String {
    let body = json!({ "email": email, "password": password });
    let answer = send(api.request("POST", "/v1/auth/login").json(&body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["access_token"].as_str().unwrap().to_owned()
}
