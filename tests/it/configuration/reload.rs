//! SIGHUP, by real signals to real processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use standardwebhooks::Webhook;

use crate::support::{
    App, Binary as _, ScratchDir, Signal, TestDb, event, eventually, eventually_async, scratch_dir,
    until_hung_up,
};

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";
const NEW: &str = "whsec_c2Vjb25kIHNlY3JldCBmb3IgdGhlIHJvdGF0aW9uIQ==";

/// A process that serves, with an environment file of its own.
struct Serving {
    _db: TestDb,
    dir: ScratchDir,
    app: App,
    url: String,
}

impl Serving {
    async fn start(dotenv: &str) -> Self {
        let (db, dir) = (TestDb::new().await, scratch_dir());
        std::fs::write(dir.join(".env"), dotenv).unwrap();
        let mut app = App::command(["serve", "--listen", "127.0.0.1:0"])
            .dir(&dir)
            .env("DATABASE_URL", &db.url)
            .spawn();
        let line = app.wait_for_line("serving http://").await;
        let url = &line[line.find("http://").unwrap()..];
        let url = url[..url.find(',').unwrap()].to_owned();
        Self { _db: db, dir, app, url }
    }

    fn write(&self, file: &str, text: &str) {
        // As those do who replace a secret: at once.
        let new = self.dir.join(format!("{file}.new"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.dir.join(file)).unwrap();
    }

    /// Asks it to read its settings again, and gives the line that says what came of it.
    async fn reload(&mut self) -> String {
        let before = self.app.lines().len();
        self.app.signal(Signal::Hangup);
        self.app.wait_for_line_after(before, "reloaded").await
    }

    async fn post(&self, id: &str, secret: Option<&str>) -> u16 {
        post(&reqwest::Client::new(), &self.url, id, secret).await
    }

    async fn post_to_shop(&self, id: &str, secret: &str) -> u16 {
        let route = format!("{}/v1/webhooks/sources/shop", self.url);
        post_to(&reqwest::Client::new(), &route, id, Some(secret)).await
    }
}

async fn post(client: &reqwest::Client, url: &str, id: &str, secret: Option<&str>) -> u16 {
    post_to(client, &format!("{url}/v1/webhooks/transactions"), id, secret).await
}

async fn post_to(client: &reqwest::Client, route: &str, id: &str, secret: Option<&str>) -> u16 {
    let body = event(id);
    let mut request = client.post(route);
    request = request.header("content-type", "application/json");
    if let Some(secret) = secret {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let now = i64::try_from(now).unwrap();
        let signature = Webhook::new(secret).unwrap().sign(id, now, body.as_bytes()).unwrap();
        request = request.header("webhook-id", id).header("webhook-timestamp", now.to_string());
        request = request.header("webhook-signature", signature);
    }
    request.body(body).send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_is_taken_up_without_a_lost_request() {
    let secrets = scratch_dir();
    let name = secrets.join("secrets");
    std::fs::write(&name, OLD).unwrap();
    let dotenv = format!("APP_WEBHOOK_SECRETS_FILE={}\n", name.display());
    let mut serving = Serving::start(&dotenv).await;
    assert_eq!(serving.post("txn_new_0", Some(NEW)).await, 401);

    let is_over = Arc::new(AtomicBool::new(false));
    let (over, url) = (Arc::clone(&is_over), serving.url.clone());
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let provider = tokio::spawn(async move {
        let client = reqwest::Client::new();
        while !over.load(Ordering::Relaxed) {
            let sent = counted.load(Ordering::Relaxed);
            let status = post(&client, &url, &format!("txn_old_{sent}"), Some(OLD)).await;
            assert_eq!(status, 202, "after {sent}");
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    for turn in 1..=3 {
        eventually("the provider goes on", || sent.load(Ordering::Relaxed) > 2 * turn).await;
        let order = if turn % 2 == 1 { [NEW, OLD] } else { [OLD, NEW] };
        std::fs::write(name.with_extension("new"), order.join(",")).unwrap();
        std::fs::rename(name.with_extension("new"), &name).unwrap();
        let said = serving.reload().await;
        assert!(said.contains("reloaded: APP_WEBHOOK_SECRETS_FILE changed"), "{said}");
        assert_eq!(serving.post(&format!("txn_new_{turn}"), Some(NEW)).await, 202);
    }
    is_over.store(true, Ordering::Relaxed);
    provider.await.unwrap();

    std::fs::write(&name, NEW).unwrap();
    serving.reload().await;
    assert_eq!(serving.post("txn_old_last", Some(OLD)).await, 401);
    std::fs::write(&name, "").unwrap();
    let said = serving.reload().await;
    assert!(said.contains("old value stays") && said.contains("APP_WEBHOOK_SECRETS"), "{said}");
    assert_eq!(serving.post("txn_new_4", Some(NEW)).await, 202);
    let all = serving.app.output();
    assert!(!all.contains(&OLD[6..]) && !all.contains(&NEW[6..]), "{all}");
}

const SHOP: &str = r#"
[sources.shop]
scheme = "standard-webhooks"
secrets_env = "SHOP_SECRET"
secrets_file = "shop-secret"

[sources.shop.transaction]
id = "/transaction_id"
source_account = "/source_account"
destination_account = "/destination_account"
amount = { at = "/amount", unit = "major" }
currency = "/currency"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn secrets_and_rules_of_a_source_are_taken_up_and_a_file_that_is_wrong_leaves_the_old() {
    let sources = scratch_dir();
    let write = |name: &str, text: &str| std::fs::write(sources.join(name), text).unwrap();
    let other = "whsec_dGhlIG90aGVyIHNlY3JldCBvZiB0aGUgc2hvcCwgaW4gYSBmaWxl";
    write("sources.toml", SHOP);
    write("shop-secret", other);
    let file = sources.join("sources.toml");
    let dotenv =
        |secret: &str| format!("APP_WEBHOOK_SOURCES={}\nSHOP_SECRET={secret}\n", file.display());
    let mut serving = Serving::start(&dotenv(OLD)).await;
    assert_eq!(serving.post_to_shop("txn_1", OLD).await, 202);
    assert_eq!(serving.post_to_shop("txn_2", other).await, 202);
    assert_eq!(serving.post_to_shop("txn_3", NEW).await, 401);
    let said = serving.reload().await;
    assert!(said.contains("reloaded: nothing has changed"), "{said}");

    let taken = "reloaded: APP_WEBHOOK_SOURCES changed";
    serving.write(".env", &dotenv(NEW));
    let said = serving.reload().await;
    assert!(said.contains(taken), "{said}");
    assert_eq!(serving.post_to_shop("txn_3", NEW).await, 202);
    assert_eq!(serving.post_to_shop("txn_4", OLD).await, 401);
    write("shop-secret", OLD);
    let said = serving.reload().await;
    assert!(said.contains(taken), "{said}");
    assert_eq!(serving.post_to_shop("txn_4", OLD).await, 202);
    assert_eq!(serving.post_to_shop("txn_5", other).await, 401);

    let limited = SHOP.replace("scheme", "limit = \"1/1h\"\nscheme");
    write("sources.toml", &limited);
    let said = serving.reload().await;
    assert!(said.contains(taken), "{said}");
    let api = &serving;
    eventually_async("the limit counts", async || api.post_to_shop("txn_4", OLD).await == 429)
        .await;

    let refused = "the old value stays in force of APP_WEBHOOK_SOURCES (";
    for (text, reason) in [
        (limited.replace("standard-webhooks", "Hunter2Marker"), "sources.shop.scheme"),
        (limited.replace("sources.shop", "sources.shops"), "by a restart only"),
        (limited.replace("limit", "silent_after = \"1h\"\nlimit"), "by a restart only"),
    ] {
        write("sources.toml", &text);
        let said = serving.reload().await;
        assert!(said.contains(refused) && said.contains(reason), "{said}");
        assert_eq!(serving.post_to_shop("txn_4", OLD).await, 429);
        assert_eq!(serving.post_to_shop("txn_5", other).await, 401);
    }
    let all = serving.app.output();
    for secret in [OLD, NEW, other, "whsec_Hunter2Marker"] {
        assert!(!all.contains(&secret[6..]), "{all}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_change_and_a_wrong_one_leaves_the_old() {
    let mut serving = Serving::start("APP_LIMIT_INBOUND_WEBHOOKS=1/1h\n").await;
    assert_eq!(serving.post("txn_1", None).await, 202);
    assert_eq!(serving.post("txn_2", None).await, 429);

    serving.write(".env", "APP_LIMIT_INBOUND_WEBHOOKS=600/min\nAPP_LIMIT_API=Hunter2Marker\n");
    let said = serving.reload().await;
    assert!(said.contains("reloaded: APP_LIMIT_INBOUND_WEBHOOKS changed"), "{said}");
    assert!(said.contains("the old value stays in force of APP_LIMIT_API (expected"), "{said}");
    assert!(!said.contains("Hunter2Marker"), "{said}");
    // A bucket that was used up fills within the new window, not within the old.
    let api = &serving;
    eventually_async("the new limit counts", async || api.post("txn_2", None).await == 202).await;

    serving.write(".env", "APP_MAX_BODY=100\n");
    let said = serving.reload().await;
    assert!(said.contains("APP_LIMIT_INBOUND_WEBHOOKS changed"), "back to the default: {said}");
    assert!(said.contains("takes a restart: APP_MAX_BODY"), "{said}");
    let said = serving.reload().await;
    assert!(said.contains("reloaded: nothing has changed"), "{said}");
    assert!(!said.contains("APP_MAX_BODY"), "it was told: {said}");

    serving.write(".env", "Hunter2Marker Hunter2Marker\n");
    let said = serving.reload().await;
    assert!(said.contains("nothing was reloaded") && said.contains("line 1 of .env"), "{said}");
    assert!(!said.contains("Hunter2Marker"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_level_changes_in_both_processes() {
    let mut serving = Serving::start("APP_LOG=info\n").await;
    let said = serving.reload().await;
    assert!(said.contains("nothing has changed"), "{said}");
    serving.write(".env", "APP_LOG=warn\n");
    serving.app.signal(Signal::Hangup);
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let before = serving.app.lines().len();
    assert_eq!(serving.post("txn_unseen", None).await, 202);
    serving.write(".env", "APP_LOG=surety=loud\n");
    let said = serving.reload().await;
    assert!(said.contains("the old value stays in force of APP_LOG"), "{said}");
    let lines = serving.app.lines();
    assert_eq!(lines[before..].len(), 1, "only what is a warning: {:#?}", &lines[before..]);

    serving.write(".env", "APP_LOG=info\n");
    let said = serving.reload().await;
    assert!(said.contains("reloaded: APP_LOG changed"), "{said}");
    assert_eq!(serving.post("txn_seen", None).await, 202);
    serving.app.wait_for_line("txn_seen").await;

    let (db, dir) = (TestDb::new().await, scratch_dir());
    std::fs::write(dir.join(".env"), "APP_LOG=warn,surety::work=info\n").unwrap();
    let mut work = App::command(["work"]).dir(&dir).env("DATABASE_URL", &db.url).spawn();
    work.wait_for_line("working").await;
    std::fs::write(dir.join(".env"), "APP_LOG=info\n").unwrap();
    work.signal(Signal::Hangup);
    work.wait_for_line("reloaded: APP_LOG changed").await;
    work.signal(Signal::Terminate);
    assert!(work.wait_for_exit().await.success(), "{}", work.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_and_the_environment_win_at_a_reload_too() {
    let (db, dir) = (TestDb::new().await, scratch_dir());
    std::fs::write(dir.join(".env"), "APP_LIMIT_API=5/min\nAPP_LIMIT_BALANCE=5/min\n").unwrap();
    let mut app = App::command(["serve", "--listen", "127.0.0.1:0", "--limit-api", "6/min"])
        .dir(&dir)
        .env("DATABASE_URL", &db.url)
        .env("APP_LIMIT_BALANCE", "6/min")
        .spawn();
    app.wait_for_line("serving http://").await;
    std::fs::write(dir.join(".env"), "APP_LIMIT_API=7/min\nAPP_LIMIT_BALANCE=7/min\n").unwrap();
    app.signal(Signal::Hangup);
    app.wait_for_line("reloaded: nothing has changed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_its_terminal_stops_a_process_in_good_order() {
    let db = TestDb::new().await;
    let variables = [("DATABASE_URL", db.url.as_str())];
    for (args, ready) in
        [(&["serve", "--listen", "127.0.0.1:0"][..], "serving http://"), (&["work"], "working")]
    {
        let status = until_hung_up(args, &variables, ready).await;
        assert!(status.success(), "{args:?}: {status}");
    }
}
