//! Pages: each is there, empty and full, and shows text as text.

use super::access::PAGES;
use super::visitor::Visitor;
use crate::support::{Answer, TestApi, send};

/// Text that would be a script, were it not shown as text.
pub(super) const HOSTILE: &str = r#"<script>alert(1)</script>"'><img src=x onerror=alert(1)>"#;

/// No queue has a name of 101 characters.
const LONG_QUEUE: &str = concat!(
    "/ui/queues/",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
);

/// The page has a title and a heading, and nothing that the policy would have to forbid.
pub(super) fn is_sound(page: &Answer, path: &str) {
    assert_eq!(page.status, 200, "{path}: {page:?}");
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'self'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("cache-control"), "no-store");
    for forbidden in ["<script>", " style=", " onclick=", "javascript:", "<style"] {
        assert!(!page.text.contains(forbidden), "{path} has {forbidden}: {}", page.text);
    }
    assert!(page.text.contains("<h1>") && page.text.contains("<title>"), "{path}");
}

#[tokio::test]
async fn every_page_is_there_while_there_is_nothing_and_says_how_to_fill_it() {
    let api = TestApi::start_with_open_pages().await;
    for path in PAGES {
        let page = api.get(path).await;
        is_sound(&page, path);
        // A queue has limits from the start, so there is always one.
        let is_never_empty = ["/ui", "/ui/queues"].contains(&path);
        assert!(is_never_empty || page.text.contains("<code>app "), "{path}: {}", page.text);
    }
}

#[tokio::test]
async fn what_others_wrote_is_shown_as_text_and_exactly() {
    let api = TestApi::start_with_open_pages().await;
    let args = format!(
        r#"{{"text":{},"amount":10000000000000000000000.10,"id":9007199254740993}}"#,
        serde_json::to_string(HOSTILE).unwrap()
    );
    let job: i64 = sqlx::query_scalar(
        "select job_id from queue.enqueue($1, $2::jsonb, queue => $1, key => $1, \
         run_at => now() + interval '1 hour')",
    )
    .bind(HOSTILE)
    .bind(&args)
    .fetch_one(&api.pool)
    .await
    .unwrap();
    let mut visitor = Visitor::new(&api);
    let reason = [("reason", HOSTILE)];
    visitor.act("/ui/queues", "/ui/queues/%2A/pause", &reason).await;
    let encoded =
        percent_encoding::utf8_percent_encode(HOSTILE, percent_encoding::NON_ALPHANUMERIC);
    let one = [
        format!("/ui/jobs/{job}"),
        format!("/ui/queues/{encoded}"),
        format!("/ui/jobs?error={encoded}&kind={encoded}"),
    ];
    for path in PAGES.into_iter().map(str::to_owned).chain(one.clone()) {
        let page = visitor.get(&path).await;
        is_sound(&page, &path);
        assert!(!page.text.contains("<img"), "{path}: {}", page.text);
    }
    let page = visitor.get(&one[0]).await.text;
    for exact in ["10000000000000000000000.10", "9007199254740993"] {
        assert!(page.contains(exact), "{exact} in {page}");
    }
}

#[tokio::test]
async fn a_filter_is_in_the_url_and_its_parts_combine() {
    let api = TestApi::start_with_open_pages().await;
    for (kind, queue) in [("a", "x"), ("a", "y"), ("b", "x")] {
        let sql = "select queue.enqueue($1, '{}', queue => $2)";
        sqlx::query(sql).bind(kind).bind(queue).execute(&api.pool).await.unwrap();
    }
    let rows = async |path: &str| api.get(path).await.text.matches(r#"<th scope="row">"#).count();
    assert_eq!(rows("/ui/jobs").await, 3);
    assert_eq!(rows("/ui/jobs?kind=a").await, 2);
    assert_eq!(rows("/ui/jobs?kind=a&queue=x").await, 1);
    assert_eq!(rows("/ui/jobs?kind=a&kind=b&queue=x").await, 2);
    assert_eq!(rows("/ui/jobs?state=discarded").await, 0);

    let added = api.request_as_it_is("GET", "/ui/jobs?kind=a&before=9&by=queue&value=x");
    assert_eq!(send(added).await.header("location"), "/ui/jobs?kind=a&queue=x");
    let page = api.get("/ui/jobs?kind=a&queue=x").await.text;
    assert!(page.contains(r#"href="/ui/jobs?queue=x" aria-label="Remove Kind a""#), "{page}");
}

#[tokio::test]
async fn a_long_list_goes_on_with_older_jobs() {
    let api = TestApi::start_with_open_pages().await;
    let sql = "select count(job_id) from generate_series(1, 120) as n, \
               queue.enqueue('k', jsonb_build_object('n', n))";
    assert_eq!(api.count(sql).await, 120);
    let (mut path, mut seen) = ("/ui/jobs?kind=k".to_owned(), Vec::new());
    for _ in 0..3 {
        let page = api.get(&path).await.text;
        let rows = page.split(r#"<th scope="row"><a class="link mono" href="/ui/jobs/"#).skip(1);
        let ids = rows.map(|row| row.split('"').next().unwrap().parse::<i64>().unwrap());
        seen.extend(ids);
        let Some((_, rest)) = page.split_once(r#"rel="next" href=""#) else { break };
        path = rest.split('"').next().unwrap().replace("&#38;", "&");
    }
    assert_eq!(seen.len(), 120);
    assert!(seen.is_sorted_by(|one, other| one > other), "newest first: {seen:?}");
}

#[tokio::test]
async fn what_is_wrong_is_a_page_that_says_so_and_never_our_fault() {
    let api = TestApi::start_with_open_pages().await;
    for (path, status) in [
        ("/ui/nothing", 404),
        ("/ui/jobs/x", 404),
        ("/ui/jobs/99999999999999999999", 404),
        ("/ui/jobs/7", 404),
        ("/ui/schedules/nothing", 404),
        ("/ui/jobs?state=x", 400),
        ("/ui/jobs?stat=discarded", 400),
        ("/ui/jobs?before=x", 400),
        ("/ui/jobs?since=yesterday", 400),
        ("/ui/jobs?kind=%00", 400),
        ("/ui/jobs?kind=%ff", 400),
        ("/ui/queues/%00", 200),
        ("/ui/queues/%E2%80%AE", 200),
        (LONG_QUEUE, 404),
        ("/ui/jobs?where=a%3D%7B", 200),
    ] {
        let answer = api.get(path).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(answer.header("content-type").starts_with("text/html"), "{path}: {answer:?}");
        if status >= 400 {
            let request_id = answer.header("x-request-id").to_owned();
            assert!(answer.text.contains(&request_id), "{path}: {}", answer.text);
            assert!(answer.text.contains("Next:"), "{path}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_told_on_the_page() {
    let api = TestApi::start_with_open_pages().await;
    assert_eq!(api.get("/ui/jobs").await.status, 200);
    let away = TestApi::start_with_pages_on("postgres://nobody@127.0.0.1:9/nothing").await;
    let answer = away.get("/ui/jobs").await;
    assert_eq!(answer.status, 503);
    assert!(answer.text.contains("The database is away"), "{}", answer.text);
    assert_ne!(answer.header("retry-after"), "");
}

#[tokio::test]
async fn assets_have_names_of_their_own_and_are_kept() {
    let api = TestApi::start_with_open_pages().await;
    let page = api.get("/ui").await.text;
    let names = page.split("/ui/assets/").skip(1).map(|rest| rest.split('"').next().unwrap());
    let names: Vec<String> = names.map(str::to_owned).collect();
    assert_eq!(names.len(), 3, "{page}");
    for name in names {
        let answer = api.get(&format!("/ui/assets/{name}")).await;
        assert_eq!(answer.status, 200, "{name}");
        assert_eq!(answer.header("cache-control"), "public, max-age=31536000, immutable");
    }
    let zipped = send(api.request("GET", "/ui/jobs").header("accept-encoding", "gzip")).await;
    assert_eq!(zipped.header("content-encoding"), "gzip");
}

#[tokio::test]
async fn admin_leads_to_the_pages() {
    let api = TestApi::start_with_open_pages().await;
    let answer = send(api.request_as_it_is("GET", "/admin")).await;
    assert_eq!((answer.status, answer.header("location")), (303, "/ui"));
}
