//! Lists, pages and reports by a standby: labelled with their age, never too old, and by the
//! primary when the standby is of no use.

use std::time::{Duration, Instant};

use sqlx::PgPool;
use surety::identity::Role;
use surety::serve::ReadArgs;

use super::standby::Standby;
use crate::pages::visitor::Visitor;
use crate::support::load::{post, webhook};
use crate::support::{Answer, App, Binary as _, TestApi, TestCluster, TestDb, eventually_async};
use crate::support::{Person, migrated, send};

const MAX_AGE: Duration = Duration::from_secs(3);
const JOBS: &str = "/v1/jobs";

/// A primary with a standby, and an API that reads there.
struct Site {
    standby: Standby,
    primary: PgPool,
    api: TestApi,
    viewer: Person,
    cluster: TestCluster,
}

impl Site {
    async fn start() -> Self {
        let cluster = TestCluster::start().await;
        let primary = migrated(&cluster, "surety").await;
        let standby = Standby::of(&cluster.url("surety")).await;
        let api = api(&primary, &standby.url).await;
        let viewer = Person::new(&api, Role::Viewer).await;
        let this = Self { standby, primary, api, viewer, cluster };
        this.wait_until_labelled().await;
        this
    }

    async fn wait_until_labelled(&self) {
        eventually_async("a list comes from the standby", async || {
            age_of(&self.jobs().await).is_some()
        })
        .await;
    }

    async fn jobs(&self) -> Answer {
        let answer = self.viewer.get(&self.api, JOBS).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    }

    async fn replay(&self, what: &'static str) {
        sqlx::query(sqlx::AssertSqlSafe(format!("select pg_wal_replay_{what}()")))
            .execute(&self.standby.pool)
            .await
            .unwrap();
    }
}

async fn api(primary: &PgPool, url: &str) -> TestApi {
    let args = ReadArgs { database_read_url: Some(url.to_owned()), read_max_age: MAX_AGE };
    TestApi::start_reading(args.reads(primary, "test").unwrap()).await
}

fn age_of(answer: &Answer) -> Option<f64> {
    let age = answer.header("data-age");
    (!age.is_empty()).then(|| age.parse().unwrap())
}

fn count_of(answer: &Answer) -> usize {
    answer.json()["jobs"].as_array().unwrap().len()
}

/// For longer than it takes to find out how old a standby is.
async fn assert_never_labelled(api: &TestApi, viewer: &Person) {
    let until = Instant::now() + MAX_AGE + Duration::from_secs(2);
    while Instant::now() < until {
        let answer = viewer.get(api, JOBS).await;
        assert_eq!((answer.status, age_of(&answer)), (200, None), "{answer:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A figure of the API's, if it has one now.
async fn figure(api: &TestApi, name: &str) -> Option<f64> {
    let scrape = api.get("/metrics").await.text;
    let mut lines = scrape.lines().filter(|line| !line.starts_with('#'));
    lines.find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_use_of_the_standby_is_among_the_figures() {
    let site = Site::start().await;
    assert_eq!(figure(&site.api, "app_replica_read").await, Some(1.0));
    let age = figure(&site.api, "app_replica_age_seconds").await.unwrap();
    assert!((0.0..=MAX_AGE.as_secs_f64()).contains(&age), "{age}");
    site.replay("pause").await;
    post(site.api.address, &webhook("txn_1")).await;
    eventually_async("the standby is too old", async || {
        age_of(&site.jobs().await).is_none()
            && figure(&site.api, "app_replica_read").await == Some(0.0)
    })
    .await;
    site.replay("resume").await;

    let alone = TestApi::start().await;
    assert_eq!(figure(&alone, "app_replica_read").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_says_how_old_it_may_be_and_is_never_older_than_allowed() {
    let site = Site::start().await;
    site.replay("pause").await;
    let paused = Instant::now();
    assert_eq!(post(site.api.address, &webhook("txn_1")).await.0, 202);

    let behind = site.jobs().await;
    let age = age_of(&behind).expect("it is not too old yet");
    assert!(age <= MAX_AGE.as_secs_f64(), "{age}");
    assert_eq!(count_of(&behind), 0, "{behind:?}");
    // What is asked for by its id, and what promises to be final, is the primary's.
    let path = "/v1/transactions/txn_1";
    assert_eq!(send(site.api.request("GET", path)).await.status, 200);
    let listed = site.viewer.get(&site.api, "/v1/transactions").await;
    assert_eq!(listed.json()["transactions"].as_array().unwrap().len(), 1, "{listed:?}");

    eventually_async("the standby is too old", async || {
        let answer = site.jobs().await;
        match age_of(&answer) {
            // It cannot be younger than the pause is long.
            Some(age) => {
                assert!(age + 0.1 >= paused.elapsed().as_secs_f64() - 1.0, "{age}");
                false
            }
            None => count_of(&answer) == 1,
        }
    })
    .await;
    assert!(paused.elapsed() >= MAX_AGE - Duration::from_secs(1), "{:?}", paused.elapsed());

    site.replay("resume").await;
    site.wait_until_labelled().await;
    assert_eq!(count_of(&site.jobs().await), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_and_report_that_may_be_behind_is_labelled() {
    let site = Site::start().await;
    let admin = Person::new(&site.api, Role::Admin).await;
    for path in [JOBS, "/v1/failures", "/v1/audit", "/v1/activity"] {
        let answer = admin.get(&site.api, path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(age_of(&answer).is_some(), "{path}: {answer:?}");
    }
    for path in ["transactions", "orders", "jobs", "failures", "deliveries", "audit"] {
        let page = send(site.api.request("GET", &format!("/ui/{path}"))).await;
        assert_eq!(page.status, 200, "{page:?}");
        assert!(page.text.contains("From a replica, at most "), "{path}: {}", page.text);
    }
    // Balances are decided by, and files are of one moment.
    for path in ["/ui/ledger", "/ui/ledger.csv", "/ui/transactions.csv"] {
        let answer = send(site.api.request("GET", path)).await;
        assert_eq!((answer.status, age_of(&answer)), (200, None), "{answer:?}");
        assert!(!answer.text.contains("From a replica"), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_action_nobody_is_shown_what_was_before_it() {
    let site = Site::start().await;
    let mut visitor = Visitor::new(&site.api);
    let listed = visitor.get("/ui/transactions").await;
    assert!(listed.text.contains("From a replica"), "{listed:?}");
    let fields = [("reason", "the relay is down"), ("back", "/ui/jobs")];
    let acted = visitor.act("/ui/queues", "/ui/queues/mail/pause", &fields).await;
    assert_eq!(acted.status, 303, "{acted:?}");
    let mut set = acted.headers.get_all("set-cookie").iter().map(|it| it.to_str().unwrap());
    let mark = set.find(|it| it.starts_with("surety_acted=")).expect("it is marked");
    assert!(mark.contains(&format!("Max-Age={}", MAX_AGE.as_secs() + 1)), "{mark}");

    let after = visitor.get("/ui/transactions").await;
    assert!(!after.text.contains("From a replica"), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_primary_whose_log_begins_a_new_file_makes_nothing_old() {
    let site = Site::start().await;
    sqlx::query("select pg_switch_wal()").execute(&site.primary).await.unwrap();
    let until = Instant::now() + MAX_AGE * 2;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let age = age_of(&site.jobs().await).expect("it is a standby that has all");
        assert!(age < MAX_AGE.as_secs_f64(), "{age}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_fails_reads_is_left_alone_for_a_while() {
    let site = Site::start().await;
    // A role that may see nothing, to whom the standby answers all the same.
    let roles = "create role nobody login; grant connect on database surety to nobody";
    sqlx::raw_sql(roles).execute(&site.primary).await.unwrap();
    let url = site.standby.url.replace("postgres://", "postgres://nobody@");
    let url = match url.matches('@').count() {
        1 => url,
        _ => format!("postgres://nobody@{}", url.rsplit('@').next().unwrap()),
    };
    let api = api(&site.primary, &url).await;
    let viewer = Person::new(&api, Role::Viewer).await;
    assert_never_labelled(&api, &viewer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_standby_does_not_have_yet_is_asked_of_the_primary() {
    let site = Site::start().await;
    let owner = Person::new(&site.api, Role::Admin).await;
    site.replay("pause").await;
    let endpoint = serde_json::json!({ "url": "https://93.184.216.34/", "event_types": ["*"] });
    let made = owner.send(&site.api, "POST", "/v1/webhook-endpoints", &endpoint).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.json()["endpoint"]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/webhook-endpoints/{id}/deliveries");
    let listed = owner.get(&site.api, &path).await;
    assert_eq!((listed.status, age_of(&listed)), (200, None), "{listed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_standby_a_list_is_the_primarys_at_once() {
    let Site { standby, api, viewer, primary, cluster: _cluster } = Site::start().await;
    drop(standby);
    let began = Instant::now();
    let answer = viewer.get(&api, JOBS).await;
    assert_eq!((answer.status, age_of(&answer)), (200, None), "{answer:?}");
    assert!(began.elapsed() < MAX_AGE, "{:?}", began.elapsed());
    primary.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_who_was_promoted_nor_who_follows_the_old_primary_is_read() {
    let site = Site::start().await;
    let left_behind = Standby::of(&site.cluster.url("surety")).await;
    site.standby.take_over_from(&site.primary).await;
    eventually_async("it is no standby", async || age_of(&site.jobs().await).is_none()).await;
    // Nor later, although it answers, and its log goes on.
    sqlx::query("select pg_switch_wal()").execute(&site.standby.pool).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(age_of(&site.jobs().await), None);

    // As far as the new primary, and never further.
    let api = api(&site.standby.pool, &left_behind.url).await;
    let viewer = Person::new(&api, Role::Viewer).await;
    assert_never_labelled(&api, &viewer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_database_of_the_standby_is_no_replica() {
    let site = Site::start().await;
    let _other = migrated(&site.cluster, "other").await;
    let api = api(&site.primary, &site.standby.url.replace("/surety", "/other")).await;
    let viewer = Person::new(&api, Role::Viewer).await;
    assert_never_labelled(&api, &viewer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_its_own_is_no_replica_and_neither_is_what_is_not_there() {
    let (db, other) = (TestDb::new().await, TestDb::new().await);
    for url in [other.url.as_str(), "postgres://nobody@127.0.0.1:1/none"] {
        let api = api(&db.pool, url).await;
        let viewer = Person::new(&api, Role::Viewer).await;
        assert_never_labelled(&api, &viewer).await;
    }
}

#[tokio::test]
async fn a_mistyped_address_of_a_replica_ends_the_start_without_showing_it() {
    let db = TestDb::new().await;
    let app = App::command(["serve", "--listen", "127.0.0.1:0"]).env("DATABASE_URL", &db.url);
    let (status, said) = app.env("APP_DATABASE_READ_URL", "mysql://u:marker@h/d").run().await;
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(said.contains("APP_DATABASE_READ_URL") && !said.contains("marker"), "{said}");
}
