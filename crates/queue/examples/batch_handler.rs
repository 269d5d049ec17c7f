//! Many jobs in one transaction: a kind whose handler gets up to 200 jobs at once, and can tell
//! which of them cannot be done.
//!
//! `DATABASE_URL=postgres://… cargo run -p surety-queue --example batch_handler`

use serde::{Deserialize, Serialize};
use surety_queue::{
    BatchContext, BatchJob, Committed, JobError, NewJob, Registry, Worker, WorkerSettings,
    enqueue_many,
};

/// Counts a view of a page.
#[derive(Serialize, Deserialize)]
struct CountView {
    page: String,
}

impl BatchJob for CountView {
    const KIND: &'static str = "count_view";
    // Nobody asks later what became of a single view.
    const KEEPS_HISTORY: bool = false;
    type State = ();

    async fn run_batch(
        jobs: Vec<Self>,
        _state: &(),
        mut cx: BatchContext,
    ) -> Result<Committed, JobError> {
        let ids: Vec<_> = cx.ids().collect();
        let mut pages = Vec::with_capacity(jobs.len());
        for (job, id) in jobs.into_iter().zip(ids) {
            if job.page.is_empty() {
                // The others are completed all the same.
                cx.fail(id, JobError::discard(anyhow::anyhow!("a view of no page")));
            } else {
                pages.push(job.page);
            }
        }
        let mut tx = cx.begin().await?;
        sqlx::query(
            "insert into page_views (page, views)
             select page, count(*) from unnest($1::text[]) as page group by page order by page
             on conflict (page) do update set views = page_views.views + excluded.views",
        )
        .bind(pages)
        .execute(&mut *tx)
        .await?;
        cx.complete(tx).await
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = sqlx::PgPool::connect(&std::env::var("DATABASE_URL")?).await?;
    surety_queue::migrate(&pool).await?;
    sqlx::raw_sql(
        "drop table if exists page_views;
         create table page_views (page text primary key, views bigint not null);",
    )
    .execute(&pool)
    .await?;

    let mut jobs = Vec::new();
    for number in 0..1_000 {
        let page = if number == 500 { String::new() } else { format!("/page/{}", number % 10) };
        jobs.push(NewJob::new(&CountView { page })?);
    }
    let mut tx = pool.begin().await?;
    enqueue_many(&mut tx, &jobs).await?;
    tx.commit().await?;

    let registry = Registry::new(()).register_batch::<CountView>();
    let worker = Worker::new(pool.clone(), registry, WorkerSettings::default())?;
    let summary = worker.run_until_idle().await?;

    let views: Option<i64> =
        sqlx::query_scalar("select sum(views)::int8 from page_views").fetch_one(&pool).await?;
    println!("{} completed, {} discarded", summary.completed, summary.discarded);
    assert_eq!(views, Some(999), "each view is counted once");
    println!("999 views are counted");
    Ok(())
}
