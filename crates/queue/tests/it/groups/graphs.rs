//! Small graphs of jobs.

use surety_queue::Unique;
use surety_queue::groups::{Batch, Graph, GraphError, GraphIds, IfFailed};

use super::super::kinds::{
    End, assert_invariants_hold, count, database, effects, enqueue_new, state_of,
};
use super::{Running, act, order, run_until_idle, soon};
use crate::support::TestDb;

const JOBS: &str = "select count(*) from queue.all_jobs";

async fn enqueue(db: &TestDb, graph: Graph) -> Result<GraphIds, GraphError> {
    // Without a transaction of ours: it must be all or nothing even so.
    let mut conn = db.pool.acquire().await.unwrap();
    graph.enqueue(&mut conn).await
}

#[tokio::test]
async fn the_last_job_of_a_diamond_runs_once_after_both_sides() {
    let db = database().await;
    let graph = Graph::new()
        .job("join", act("join", End::Complete))
        .job("left", act("left", End::Complete).priority(3))
        .job("right", act("right", End::Complete))
        .job("start", act("start", End::Complete).priority(4))
        .edge("start", "left")
        .edge("start", "right")
        .edge("left", "join")
        .edge("right", "join");
    let ids = enqueue(&db, graph).await.unwrap();
    assert!(ids["start"] < ids["left"] && ids["right"] < ids["join"]);
    run_until_idle(&db.pool).await;

    let order = order(&db.pool).await;
    assert_eq!((&*order[0], &*order[3], order.len()), ("start", "join", 4));
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_graph_may_wait_for_jobs_outside_and_be_in_a_batch() {
    let db = database().await;
    let outside = enqueue_new(&db.pool, act("outside", End::Discard)).await;
    let mut tx = db.pool.begin().await.unwrap();
    let done = act("done", End::Complete);
    let batch = Batch::new().on_done(done).enqueue(&mut tx, Vec::new()).await.unwrap();
    let first = act("first", End::Complete).after(&[outside]).after_if_failed(IfFailed::Run);
    let graph = Graph::new()
        .job("first", first.batch(batch.id))
        .job("second", act("second", End::Complete).batch(batch.id))
        .edge("first", "second");
    graph.enqueue(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    run_until_idle(&db.pool).await;
    assert_eq!(order(&db.pool).await, ["first", "second", "done"]);
}

#[tokio::test]
async fn what_is_no_graph_is_refused_and_nothing_is_written() {
    let db = database().await;
    let ab = || Graph::new().job("a", act("a", End::Complete)).job("b", act("b", End::Complete));
    let unique = act("u", End::Complete).unique(Unique::by_args());
    let cases = [
        (ab().edge("a", "b").edge("b", "a"), "the jobs wait for each other in a circle: a → b → a"),
        (ab().edge("a", "c"), "the edge from a to c names a job that the graph does not have: c"),
        (ab().job("a", act("a", End::Complete)), "two jobs of the graph are named a"),
        (ab().edge("a", "b").edge("a", "b"), "the edge from a to b is there twice"),
        (ab().job("u", unique), "the job u is unique, which jobs of a graph cannot be"),
    ];
    for (graph, expected) in cases {
        assert_eq!(enqueue(&db, graph).await.unwrap_err().to_string(), expected);
    }
    // Refused by the database at the second job.
    let graph = ab().job("c", act("c", End::Complete).priority(9)).edge("a", "c");
    assert!(matches!(enqueue(&db, graph).await, Err(GraphError::Queue(_))));
    assert_eq!(count(&db.pool, JOBS).await, 0);
}

#[tokio::test]
async fn a_chain_of_a_hundred_runs_link_by_link() {
    let db = database().await;
    let mut graph = Graph::new();
    for link in (0..100).rev() {
        graph = graph.job(format!("{link:02}"), act(&format!("{link:02}"), End::Complete));
    }
    for link in 1..100 {
        graph = graph.edge(format!("{:02}", link - 1), format!("{link:02}"));
    }
    enqueue(&db, graph).await.unwrap();
    let expected: Vec<String> = (0..100).map(|link| format!("{link:02}")).collect();

    // By workers that go on claiming: no link may have to wait for a claim from the very start,
    // which is made every ten seconds.
    let workers = Running::start(&db.pool, 2);
    soon("the chain has ended", async || effects(&db.pool).await.len() == 100).await;
    workers.stop().await;
    assert_eq!(order(&db.pool).await, expected);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_failure_cancels_all_that_is_behind_it_and_nothing_else() {
    let db = database().await;
    let mut graph = Graph::new().job("0", act("0", End::Discard));
    for step in 1..20 {
        graph = graph
            .job(step.to_string(), act(&step.to_string(), End::Complete))
            .edge((step - 1).to_string(), step.to_string());
    }
    let graph = graph
        .job("beside", act("beside", End::Complete))
        .job("clean up", act("clean up", End::Complete).after_if_failed(IfFailed::Run))
        .edge("19", "clean up");
    let ids = enqueue(&db, graph).await.unwrap();
    run_until_idle(&db.pool).await;
    assert_eq!(effects(&db.pool).await, ["beside", "clean up"]);
    assert_eq!(state_of(&db.pool, ids["19"]).await, "cancelled");
    assert_invariants_hold(&db.pool).await;
}
