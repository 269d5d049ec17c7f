//! Who comes in, and what he may do.

use std::collections::BTreeMap;

use surety::identity::Role;
use surety::identity::api_keys::{self, ActsAs};
use surety::ids::UserId;

use super::visitor::Visitor;
use crate::support::{PASSWORD, Person, TestApi, TestDb, send};

/// Pages that need a sign-in, each that there is.
pub(super) const PAGES: [&str; 15] = [
    "/ui",
    "/ui/jobs",
    "/ui/queues",
    "/ui/failures",
    "/ui/schedules",
    "/ui/workers",
    "/ui/operations",
    "/ui/transactions",
    "/ui/orders",
    "/ui/ledger",
    "/ui/conflicts",
    "/ui/endpoints",
    "/ui/deliveries",
    "/ui/audit",
    "/ui/health",
];

/// The secret of a new key.
pub(super) async fn key(api: &TestApi, acts_as: ActsAs) -> String {
    let mut conn = api.pool.acquire().await.unwrap();
    let (_, secret) = api_keys::create(&mut conn, "pages", acts_as, None).await.unwrap();
    secret.reveal().to_owned()
}

#[tokio::test]
async fn a_stranger_is_led_to_the_sign_in_and_then_to_where_he_wanted_to_go() {
    let api = TestApi::start().await;
    for path in PAGES {
        let answer = Visitor::new(&api).get(path).await;
        assert_eq!(answer.status, 303, "{path}");
        let expected = format!("/ui/sign-in?next={}", path.replace('/', "%2F"));
        assert_eq!(answer.header("location"), expected);
    }
    let operator = Person::new(&api, Role::Operator).await;
    let mut visitor = Visitor::new(&api);
    let fields = [("email", operator.email.as_str()), ("password", PASSWORD), ("next", "/ui/jobs")];
    let answer = visitor.sign_in(&fields).await;
    assert_eq!((answer.status, answer.header("location")), (303, "/ui/jobs"), "{answer:?}");
    let cookie = answer.header("set-cookie");
    assert!(cookie.contains("; Path=/ui; HttpOnly; SameSite=Strict"), "{cookie}");
    let page = visitor.get("/ui/jobs").await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains(&operator.email), "{}", page.text);
}

#[tokio::test]
async fn nobody_is_led_to_another_site_by_the_sign_in() {
    let api = TestApi::start().await;
    let secret = key(&api, ActsAs::Operator).await;
    for next in ["https://evil.example", "//evil.example/ui", "/v1/users", "/ui\\evil.example"] {
        let answer = Visitor::new(&api).sign_in(&[("key", &secret), ("next", next)]).await;
        assert_eq!((answer.status, answer.header("location")), (303, "/ui"), "{next}");
    }
}

#[tokio::test]
async fn who_may_not_see_the_pages_is_told_so_and_signed_out_again() {
    let api = TestApi::start().await;
    let user = Person::new(&api, Role::User).await;
    let sessions = "select count(*) from identity.sessions where ended_at is null";
    let before = api.count(sessions).await;
    let fields = [("email", user.email.as_str()), ("password", PASSWORD)];
    let answer = Visitor::new(&api).sign_in(&fields).await;
    assert_eq!(answer.status, 403);
    assert!(answer.text.contains("for viewers, operators"), "{}", answer.text);
    assert_eq!(api.count(sessions).await, before);

    let wrong = [("email", user.email.as_str()), ("password", "wrong")];
    let answer = Visitor::new(&api).sign_in(&wrong).await;
    assert_eq!(answer.status, 401);
    assert!(answer.text.contains(&user.email), "it is not typed twice");

    for key in [key(&api, ActsAs::User(UserId(user.id))).await, "surety_nothing".to_owned()] {
        let answer = Visitor::new(&api).sign_in(&[("key", &key)]).await;
        assert!([401, 403].contains(&answer.status), "{answer:?}");
        let mut cookies = answer.headers.get_all("set-cookie").iter();
        assert!(!cookies.any(|it| it.to_str().unwrap().contains("surety_session")), "{answer:?}");
    }
}

#[tokio::test]
async fn signing_out_ends_the_session_on_the_server() {
    let api = TestApi::start().await;
    let operator = Person::new(&api, Role::Operator).await;
    let mut visitor = Visitor::new(&api);
    visitor.sign_in(&[("email", &operator.email), ("password", PASSWORD)]).await;
    let kept = visitor.request("GET", "/ui");
    assert_eq!(send(kept).await.status, 200);
    let stolen = visitor.request("GET", "/ui");
    let answer = visitor.act("/ui", "/ui/sign-out", &[]).await;
    assert_eq!((answer.status, answer.header("location")), (303, "/ui/sign-in"));
    assert_eq!(visitor.get("/ui").await.status, 303);
    assert_eq!(send(stolen).await.status, 303, "the session itself has ended");
}

#[tokio::test]
async fn guesses_at_the_sign_in_are_limited() {
    let limit = "2/min".parse().unwrap();
    let api = TestApi::start_with(|api| api.limits.limit_login_address = limit).await;
    let mut visitor = Visitor::new(&api);
    let mut statuses = BTreeMap::new();
    for key in ["surety_a", "surety_b", "surety_c"] {
        *statuses.entry(visitor.sign_in(&[("key", key)]).await.status).or_insert(0) += 1;
    }
    assert_eq!(statuses, BTreeMap::from([(401, 2), (429, 1)]));
}

#[tokio::test]
async fn an_operator_acts_and_an_admin_decides_over_what_was_given_up() {
    let api = TestApi::start().await;
    api.post(crate::support::event("txn_1")).await;
    let job = api.count("select id from queue.jobs").await;
    let (page, reason) = (format!("/ui/jobs/{job}"), [("reason", "a test")]);
    let states = async || {
        let sql = "select state::text from queue.all_jobs";
        sqlx::query_scalar::<_, String>(sql).fetch_one(&api.pool).await.unwrap()
    };

    let operators = key(&api, ActsAs::Operator).await;
    let mut operator = Visitor::with_key(&api, &operators).await;
    let discarded = operator.act(&page, &format!("{page}/discard"), &reason).await;
    assert_eq!((discarded.status, states().await.as_str()), (303, "discarded"), "{discarded:?}");
    for decision in ["redrive", "write-off"] {
        let refused = operator.act(&page, &format!("{page}/{decision}"), &reason).await;
        assert_eq!((refused.status, states().await.as_str()), (403, "discarded"), "{refused:?}");
        assert!(refused.text.contains("the role admin"), "{}", refused.text);
    }
    let bulk = "/ui/jobs/bulk?action=retry&kind=settle_transaction";
    let refused = operator.act("/ui/jobs", bulk, &reason).await;
    assert_eq!(refused.status, 403, "{refused:?}");

    let admins = key(&api, ActsAs::Admin).await;
    let mut admin = Visitor::with_key(&api, &admins).await;
    let redriven = admin.act(&page, &format!("{page}/redrive"), &reason).await;
    assert_eq!((redriven.status, states().await.as_str()), (303, "available"), "{redriven:?}");
}

#[tokio::test]
async fn open_pages_are_for_this_machine_and_for_no_other_site() {
    let api = TestApi::start_with_open_pages().await;
    assert_eq!(api.get("/ui").await.status, 200);
    let foreign = [
        ("host", "rebound.example:8000"),
        ("x-forwarded-for", "127.0.0.1"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ];
    for path in PAGES {
        for (name, value) in foreign {
            let answer = send(api.request("GET", path).header(name, value)).await;
            assert_eq!(answer.status, 403, "{path} {name}: {value}");
            assert!(answer.header("content-type").starts_with("text/html"), "{answer:?}");
        }
    }
    // A link on another site may lead here: nothing happens by it.
    let link = api.request("GET", "/ui").header("sec-fetch-site", "cross-site");
    assert_eq!(send(link.header("sec-fetch-mode", "navigate")).await.status, 200);
}

#[tokio::test]
async fn pages_are_open_where_that_was_asked_for_and_nowhere_else() {
    let db = TestDb::new().await;
    let api = TestApi::start_on(db.pool.clone(), |_| {}).await;
    assert_eq!(Visitor::new(&api).get("/ui").await.status, 303);
}

#[tokio::test]
async fn a_link_from_another_site_asks_once_more_from_here_for_the_cookies_to_come_along() {
    let api = TestApi::start().await;
    let link = api.request_as_it_is("GET", "/ui/jobs?state=discarded");
    let link = link.header("sec-fetch-site", "cross-site").header("sec-fetch-mode", "navigate");
    let answer = send(link).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text.contains(r#"content="0; url=/ui/jobs?state=discarded""#), "{answer:?}");
}
