//! `app users` and `app keys`.

use serde_json::Value;

use crate::support::{App, Binary as _, TestApi, send, sign_in};

/// What a command that must succeed prints, as JSON.
async fn json_of(api: &TestApi, args: &[&str], stdin: &str) -> Value {
    let command = App::command(args.iter().chain(&["-o", "json"])).stdin(stdin);
    let url = &api.db.as_ref().unwrap().url;
    let (status, output) = command.env("DATABASE_URL", url).run().await;
    assert!(status.success(), "{args:?}: {output}");
    serde_json::from_str(&output).unwrap_or_else(|_| panic!("not JSON: {output}"))
}

async fn text_of(api: &TestApi, args: &[&str]) -> (Option<i32>, String) {
    let url = &api.db.as_ref().unwrap().url;
    let (status, output) = App::command(args).env("DATABASE_URL", url).run().await;
    (status.code(), output)
}

#[tokio::test]
async fn an_operator_makes_the_first_admin_with_a_password_that_is_printed_once() {
    let api = TestApi::start().await;
    let made = json_of(&api, &["users", "create", "Ada@Example.com", "--role", "admin"], "").await;
    assert_eq!((&made["role"], &made["email"]), (&"admin".into(), &"ada@example.com".into()));
    let token = sign_in(&api, "ada@example.com", made["password"].as_str().unwrap()).await;
    assert_eq!(send(api.request("GET", "/v1/users").bearer_auth(token)).await.status, 200);

    let listed = json_of(&api, &["users", "list"], "").await;
    assert_eq!(listed[0]["id"], made["id"]);
    assert!(listed[0].get("password").is_none() && !listed.to_string().contains("argon2"));
    for args in [
        &["users", "set-status", "ada@example.com", "suspended"][..],
        &["users", "set-role", "ada@example.com", "user"],
    ] {
        let (code, output) = text_of(&api, args).await;
        assert_eq!(code, Some(1), "{output}");
        assert!(output.contains("last active admin"), "{output}");
    }
}

#[tokio::test]
async fn a_password_comes_from_stdin_and_is_not_repeated() {
    let api = TestApi::start().await;
    let create = ["users", "create", "bob@example.com", "--password-stdin"];
    let made = json_of(&api, &create, "four small grey owls\n").await;
    assert!(made.get("password").is_none(), "{made}");
    sign_in(&api, "bob@example.com", "four small grey owls").await;

    let url = &api.db.as_ref().unwrap().url;
    let set = App::command(["users", "set-password", "bob@example.com", "--password-stdin"]);
    let (status, output) = set.env("DATABASE_URL", url).stdin("short\n").run().await;
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("at least 8") && !output.contains("short\n"), "{output}");

    let token = sign_in(&api, "bob@example.com", "four small grey owls").await;
    let (code, output) = text_of(&api, &["users", "set-password", "bob@example.com"]).await;
    assert_eq!(code, Some(0), "{output}");
    let made_up = output.rsplit(' ').next().unwrap().trim();
    sign_in(&api, "bob@example.com", made_up).await;
    let path = format!("/v1/users/{}", made["id"].as_str().unwrap());
    assert_eq!(send(api.request("GET", &path).bearer_auth(token)).await.status, 401);
}

#[tokio::test]
async fn a_key_is_made_listed_rotated_and_revoked() {
    let api = TestApi::start().await;
    let create = ["keys", "create", "--name", "ci", "--role", "operator", "--expires-in", "90d"];
    let made = json_of(&api, &create, "").await;
    let (id, first) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    let status =
        async |secret: &str| send(api.request("GET", "/v1/users").bearer_auth(secret)).await.status;
    assert_eq!(status(first).await, 200);

    let listed = json_of(&api, &["keys", "list"], "").await;
    assert_eq!((&listed[0]["id"], &listed[0]["role"]), (&made["id"], &"operator".into()));
    assert!(!listed.to_string().contains(first));

    let rotated = json_of(&api, &["keys", "rotate", id], "").await;
    let second = rotated["secret"].as_str().unwrap();
    assert_eq!((status(first).await, status(second).await), (401, 200));

    let (code, output) = text_of(&api, &["keys", "revoke", id]).await;
    assert_eq!(code, Some(0), "{output}");
    assert_eq!(status(second).await, 401);
    let (code, output) = text_of(&api, &["keys", "rotate", id]).await;
    assert_eq!(code, Some(1), "{output}");
}

#[tokio::test]
async fn what_is_not_there_is_said_to_be_not_there() {
    let api = TestApi::start().await;
    let nobody = uuid::Uuid::now_v7().to_string();
    for (args, word) in [
        (&["users", "set-role", "nobody@example.com", "admin"][..], "nobody@example.com"),
        (&["users", "set-status", &nobody, "active"], &nobody),
        (&["keys", "revoke", &nobody], &nobody),
        (&["keys", "rotate", &nobody], &nobody),
        (&["keys", "create", "--name", "x", "--user", "nobody@example.com"], "nobody@example.com"),
    ] {
        let (code, output) = text_of(&api, args).await;
        assert_eq!(code, Some(1), "{args:?}: {output}");
        assert!(output.contains(word) && output.contains("error:"), "{args:?}: {output}");
    }
    for args in [&["users", "create", "no address"][..], &["keys", "create", "--name", "x"]] {
        assert_eq!(text_of(&api, args).await.0, Some(2), "{args:?}");
    }
}
