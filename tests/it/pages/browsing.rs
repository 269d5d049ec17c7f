//! Lists of money: filters that combine, pages that go on, and none that looks at everything.

use surety::ids::TransactionId;
use surety::operations::transactions::{self, TransactionFilter};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::datetime;

use crate::support::money::Customer;
use crate::support::{TestApi, TestDb};

/// The rows of a page's table.
pub(super) async fn rows(api: &TestApi, path: &str) -> usize {
    let page = api.get(path).await;
    assert_eq!(page.status, 200, "{path}: {page:?}");
    page.text.matches(r#"<th scope="row""#).count()
}

/// Where the page goes on.
fn older(html: &str) -> Option<String> {
    let (_, rest) = html.split_once(r#"rel="next" href=""#)?;
    Some(rest.split('"').next().unwrap().replace("&#38;", "&"))
}

/// Stores settled transactions, received a second after each other.
async fn store(api: &TestApi, from: i64, to: i64, currency: &str, account: &str) {
    let sql = "
        insert into payments.transactions (
          transaction_id, source_account, destination_account, amount, currency, body, status,
          created_at, processed_at
        )
        select
          'txn_' || n, $4, 'acc_shop', 10, $3, '', 'COMPLETED',
          timestamptz '2026-01-01 00:00Z' + n * interval '1 s', clock_timestamp()
        from generate_series($1::bigint, $2::bigint) as n
        order by n";
    let query = sqlx::query(sql).bind(from).bind(to).bind(currency).bind(account);
    query.execute(&api.pool).await.unwrap();
}

#[tokio::test]
async fn transactions_are_filtered_by_parts_that_combine() {
    let api = TestApi::start_with_open_pages().await;
    store(&api, 1, 3, "USD", "acc_anna").await;
    store(&api, 4, 5, "EUR", "acc_anna").await;
    store(&api, 6, 6, "EUR", "acc_ben").await;
    api.post(crate::support::event("txn_new")).await;
    for (query, count) in [
        ("", 7),
        ("?currency=EUR", 3),
        ("?currency=eur&account=acc_anna", 2),
        ("?account=acc_shop", 6),
        ("?status=PROCESSING", 1),
        ("?status=COMPLETED&currency=USD", 3),
        ("?status=FAILED", 0),
        ("?since=2026-01-01T00:00:04Z", 4),
        ("?since=2026-01-01T00:00:04Z&until=2026-01-01T00:00:06Z", 2),
        ("?until=2026-01-01T00:00:02Z", 1),
        ("?since=1h", 1),
        ("?account=nobody", 0),
    ] {
        assert_eq!(rows(&api, &format!("/ui/transactions{query}")).await, count, "{query}");
    }
    for wrong in ["status=x", "currency=XYZ", "since=x", "before=x", "acount=x"] {
        assert_eq!(api.get(&format!("/ui/transactions?{wrong}")).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_long_list_of_transactions_goes_on_and_repeats_nothing() {
    let api = TestApi::start_with_open_pages().await;
    store(&api, 1, 120, "USD", "acc_anna").await;
    for filter in ["", "?account=acc_anna", "?currency=USD&status=COMPLETED"] {
        let (mut path, mut seen) = (format!("/ui/transactions{filter}"), Vec::new());
        for _ in 0..4 {
            let page = api.get(&path).await.text;
            let links = page.split(r#"<a class="link mono" href="/ui/transactions/"#).skip(1);
            seen.extend(links.map(|rest| rest.split('"').next().unwrap().to_owned()));
            let Some(next) = older(&page) else { break };
            path = next;
        }
        let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
        assert_eq!((seen.len(), distinct.len()), (120, 120), "{filter}");
    }
}

#[tokio::test]
async fn a_rare_filter_ends_a_page_early_and_finds_the_rest_on_the_next() {
    let api = TestApi::start_with_open_pages().await;
    store(&api, 1, 1, "KWD", "acc_anna").await;
    store(&api, 2, 5_050, "USD", "acc_anna").await;
    for filter in ["currency=KWD", "currency=KWD&account=acc_anna"] {
        let first = api.get(&format!("/ui/transactions?{filter}")).await.text;
        assert!(first.contains("So many were looked at that this page ends."), "{first}");
        assert_eq!(rows(&api, &older(&first).unwrap()).await, 1, "{filter}");
    }
}

#[tokio::test]
async fn a_moment_leads_to_its_transactions_whatever_the_gaps_between_numbers() {
    let db = TestDb::new().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let begin = datetime!(2026-01-01 0:00 UTC);
    for (number, minute) in [(3_i64, 10), (4, 20), (1_000, 30), (70_000, 40), (5_000_000_000, 50)] {
        sqlx::query(
            "insert into payments.transactions (
               id, transaction_id, source_account, destination_account, amount, currency, body,
               created_at
             ) overriding system value
             values ($1, 'txn_' || $1, 'a', 'b', 1, 'USD', '', $2)",
        )
        .bind(number)
        .bind(begin + time::Duration::minutes(minute))
        .execute(&mut *conn)
        .await
        .unwrap();
    }
    let mut found = async |from: i64, until: i64| -> Vec<i64> {
        let at = |minute: i64| Some(begin + time::Duration::minutes(minute));
        let filter = TransactionFilter {
            created_from: at(from),
            created_before: at(until),
            ..TransactionFilter::default()
        };
        let page = transactions::list(&mut conn, &filter, None, 50).await.unwrap();
        assert_eq!(page.next, None::<TransactionId>);
        page.rows.iter().map(|row| row.id.0).collect()
    };
    assert_eq!(found(0, 60).await, [5_000_000_000, 70_000, 1_000, 4, 3]);
    assert_eq!(found(20, 40).await, [1_000, 4]);
    assert_eq!(found(41, 60).await, [5_000_000_000]);
    assert_eq!(found(0, 10).await, [0_i64; 0]);
    assert_eq!(found(51, 60).await, [0_i64; 0]);
}

#[tokio::test]
async fn orders_are_filtered_by_kind_status_user_wallet_and_time() {
    let api = TestApi::start_with_open_pages().await;
    let ada = Customer::with(&api, "100 USD").await;
    let ben = Customer::with(&api, "50 USD").await;
    let transfer = crate::support::money::between(ada.wallet, ben.wallet, "5 USD");
    assert_eq!(ada.order(&api, "/v1/transfers", &transfer).await.status, 202);
    let future = (OffsetDateTime::now_utc() + time::Duration::HOUR).format(&Rfc3339).unwrap();
    for (query, count) in [
        (String::new(), 3),
        ("?kind=deposit".into(), 2),
        ("?kind=transfer&status=PENDING".into(), 1),
        ("?status=COMPLETED".into(), 2),
        ("?currency=EUR".into(), 0),
        (format!("?user={}", ada.person.email), 2),
        (format!("?user={}&kind=deposit", ben.id()), 1),
        (format!("?account={}", ben.wallet), 2),
        (format!("?account={}&user={}", ben.wallet, ada.id()), 0),
        ("?since=1h".into(), 3),
        ("?until=1h".into(), 0),
        (format!("?since={future}"), 0),
    ] {
        assert_eq!(rows(&api, &format!("/ui/orders{query}")).await, count, "{query}");
    }
    for wrong in ["kind=x", "status=x", "user=nobody@example.com", "user=x", "account=x"] {
        assert_eq!(api.get(&format!("/ui/orders?{wrong}")).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn accounts_are_found_by_the_beginning_of_a_name_the_owner_and_the_currency() {
    let api = TestApi::start_with_open_pages().await;
    let ada = Customer::with(&api, "100 USD").await;
    for (name, currency) in [("acc_anna", "USD"), ("acc_anna", "EUR"), ("acc_ben", "USD")] {
        crate::support::ledger::external(&api.pool, name, currency).await;
    }
    for index in 0..60 {
        crate::support::ledger::external(&api.pool, &format!("many_{index:03}"), "USD").await;
    }
    for (query, count) in [
        ("?name=acc_", 3),
        ("?name=acc_anna&currency=EUR", 1),
        ("?name=ben", 0),
        ("?name=many_", 50),
        ("?kind=wallet", 1),
        (&format!("?user={}", ada.person.email), 1),
        ("?kind=bank", 1),
    ] {
        assert_eq!(rows(&api, &format!("/ui/ledger{query}")).await, count, "{query}");
    }
    for wrong in ["kind=x", "kind=wallet&name=a", "kind=bank&user=ada@example.com", "before=x"] {
        assert_eq!(api.get(&format!("/ui/ledger?{wrong}")).await.status, 400, "{wrong}");
    }
    let first = api.get("/ui/ledger?name=many_").await.text;
    assert_eq!(rows(&api, &older(&first).unwrap()).await, 10);
}
