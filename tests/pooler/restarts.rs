//! A connection pooler that goes away and comes back.

use std::time::Instant;

use crate::support::load::{assert_verified, serve};
use crate::support::prober::{Prober, RECOVERY, assert_stored, outage, settled_again, work};
use crate::support::{PgBouncer, PgBouncerSettings, TestDb};

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_is_killed_and_started_again_is_found_again() {
    let db = TestDb::new().await;
    let mut bouncer = PgBouncer::start(&db.url, PgBouncerSettings::default()).await;
    let server = serve(&bouncer.url, None).await;
    let worker = work(&bouncer.url, &[]);
    let prober = Prober::start(server.address);
    settled_again(&db.pool, Instant::now()).await;

    bouncer.kill_and_start_again().await;
    let back_at = Instant::now();
    let settled = settled_again(&db.pool, back_at).await;
    tokio::time::sleep(RECOVERY).await;
    let answers = prober.stop().await;

    assert!(settled < RECOVERY, "settled again after {settled:?}\n{}", worker.output());
    assert!(outage(&answers, back_at) < RECOVERY, "{:?}", outage(&answers, back_at));
    assert_stored(&db.pool, &answers).await;
    assert_verified(&bouncer.url).await;
}
