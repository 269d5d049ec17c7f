//! Lists as files for spreadsheets.

use surety::identity::api_keys::ActsAs;

use super::access::key;
use super::visitor::Visitor;
use crate::support::{TestApi, event, event_of};

/// The lists that can be had as a file.
const LISTS: [&str; 6] = ["jobs", "transactions", "orders", "ledger", "deliveries", "audit"];

#[tokio::test]
async fn each_list_has_a_link_to_its_file_that_takes_the_filter_along() {
    let api = TestApi::start().await;
    let mut viewer = Visitor::with_key(&api, &key(&api, ActsAs::Viewer).await).await;
    for list in LISTS {
        let page = viewer.get(&format!("/ui/{list}")).await.text;
        let link = format!(r#"href="/ui/{list}.csv" download"#);
        assert!(page.contains(&link), "{list}: {page}");
        let file = viewer.get(&format!("/ui/{list}.csv")).await;
        assert_eq!(file.status, 200, "{list}: {file:?}");
        assert_eq!(file.header("content-type"), "text/csv; charset=utf-8; header=present");
        assert!(file.header("content-disposition").starts_with("attachment; filename="));
        assert_eq!(file.header("cache-control"), "no-store");
        let columns = file.text.lines().next().unwrap().split(',').count();
        assert!(columns >= 8, "{list}: {}", file.text);
        let wrong = viewer.get(&format!("/ui/{list}.csv?nonsense=1")).await;
        assert_eq!(wrong.status, 400, "{list}: {wrong:?}");
    }
    let page = viewer.get("/ui/jobs?state=discarded&before=7").await.text;
    assert!(page.contains(r#"href="/ui/jobs.csv?state=discarded" download"#), "{page}");
    let page = viewer.get("/ui/transactions?currency=EUR&status=FAILED").await.text;
    assert!(page.contains("/ui/transactions.csv?currency=EUR&#38;status=FAILED"), "{page}");
}

#[tokio::test]
async fn a_file_has_what_the_filter_leaves_and_no_formulas() {
    let api = TestApi::start_with_open_pages().await;
    api.post(event("=1+1")).await;
    api.post(event_of("txn_2", "2.50").replace("USD", "EUR")).await;
    let all = api.get("/ui/transactions.csv").await.text;
    let lines: Vec<&str> = all.lines().collect();
    assert!(lines[1].starts_with("txn_2,PROCESSING,,2.50,EUR,acc_user_789,"), "{all}");
    assert!(lines[2].starts_with("'=1+1,PROCESSING,,1500.00,USD,acc_user_789,"), "{all}");
    assert_eq!(lines.len(), 3, "{all}");
    let euros = api.get("/ui/transactions.csv?currency=EUR").await.text;
    assert_eq!(euros.lines().count(), 2, "{euros}");
}

#[tokio::test]
async fn a_file_goes_over_many_parts_and_ends_at_its_bound() {
    let api = TestApi::start_with_open_pages().await;
    let enqueue = "
        insert into queue.jobs (kind, run_at)
        select 'report', now() + interval '1 hour' from generate_series(1, 10600)";
    sqlx::raw_sql(enqueue).execute(&api.pool).await.unwrap();
    let text = api.get("/ui/jobs.csv?kind=report").await.text;
    let numbers: Vec<i64> =
        text.lines().skip(1).map(|line| line.split(',').next().unwrap().parse().unwrap()).collect();
    assert_eq!(numbers.len(), 10_000);
    assert!(numbers.is_sorted_by(|one, next| one > next), "each once, the newest first");
    assert_eq!(numbers[0], api.count("select max(id) from queue.jobs").await);
}
