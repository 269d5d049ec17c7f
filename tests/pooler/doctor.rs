//! `app doctor` behind a pooler.

use crate::support::doctor::Answer;
use crate::support::{PgBouncer, PgBouncerSettings, TestDb};

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_everything_is_looked_at_and_the_way_past_it_is_named() {
    let db = TestDb::new().await;
    let bouncer = PgBouncer::start(&db.url, PgBouncerSettings::default()).await;
    let answer = Answer::of(&bouncer.url, &[]).await;
    for check in ["pooler", "notifications"] {
        let [level, found, fix] = answer.about(check, "");
        assert_eq!(level, "warn", "{found}");
        assert!(fix.contains("APP_DATABASE_DIRECT_URL"), "{fix}");
    }
    for check in ["migrations", "session-settings", "clock", "oldest-transaction", "partitions"] {
        assert_eq!(answer.levels(check), ["ok"], "{:?}", answer.of_check(check));
    }
    assert_eq!(answer.levels("indexes-and-settings"), ["ok", "ok"]);

    for (direct, expected) in [(&db.url, ["ok", "ok"]), (&bouncer.url, ["fail", "warn"])] {
        let args = ["--database-direct-url", direct.as_str()];
        let answer = Answer::of(&bouncer.url, &args).await;
        let levels = ["pooler", "notifications"].map(|check| answer.about(check, "")[0]);
        assert_eq!(levels, expected, "{:?}", answer.report);
    }
}
