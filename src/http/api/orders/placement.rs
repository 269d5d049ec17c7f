//! The shared commit of orders: the claim of the idempotency key, the order with its hold, the job
//! that will execute it, and the answer that is kept. All of that, or nothing.

use sqlx::{Executor as _, PgConnection, raw_sql};

use super::bodies::OrderOut;
use crate::http::edge::idempotency::{self, Claim, Claimed, StoredAnswer};
use crate::http::edge::shared_commit::{self, CommitError, Work};
use crate::http::wire::problem::{self, Code, Problem};
use crate::ids::OrderId;
use crate::jobs::{ExecuteBankOrder, ExecuteTransfer};
use crate::payments::orders::{self, Kind, NewOrder, Order, PlacementRefusal};
use crate::queue::telemetry::TraceContext;
use crate::queue::{NewJob, QueueError, enqueue_many};

/// Places orders.
#[derive(Clone, Copy, Debug)]
pub struct PlaceOrders;

/// A request for an order.
#[derive(Clone, Debug)]
pub struct OrderRequest {
    /// The key by which the request is the same when it comes again.
    pub claim: Claim,
    /// The order to place.
    pub order: NewOrder,
    /// The path that it was sent to.
    pub path: String,
    /// The trace that the order's job continues.
    pub trace_context: Option<TraceContext>,
}

/// The result of a request for an order.
#[derive(Clone, Debug)]
pub enum Placed {
    /// The order was answered now.
    Answered(StoredAnswer),
    /// The order was answered before, by this.
    Replayed(StoredAnswer),
    /// The order is not to be placed, and may be sent again: nothing is kept.
    Refused(Code),
}

impl Work for PlaceOrders {
    const NAME: &'static str = "orders";
    type Item = OrderRequest;
    type Output = Placed;

    async fn commit(
        &self,
        conn: &mut PgConnection,
        requests: &[OrderRequest],
    ) -> Result<Vec<Placed>, CommitError> {
        conn.execute(raw_sql("begin")).await?;
        let placed = self.write(&mut *conn, requests).await;
        shared_commit::end(conn, placed).await
    }
}

impl PlaceOrders {
    /// Places the orders of these requests in the caller's transaction.
    ///
    /// # Errors
    ///
    /// [`CommitError`]; the transaction is then of no more use.
    pub async fn write(
        &self,
        conn: &mut PgConnection,
        requests: &[OrderRequest],
    ) -> Result<Vec<Placed>, CommitError> {
        let claims: Vec<&Claim> = requests.iter().map(|request| &request.claim).collect();
        let claimed = idempotency::claim_many(&mut *conn, &claims).await?;
        let fresh: Vec<&OrderRequest> = requests
            .iter()
            .zip(&claimed)
            .filter_map(|(request, claimed)| (*claimed == Claimed::Fresh).then_some(request))
            .collect();
        let mut decided = place(conn, &fresh).await?.into_iter();
        let outcome = |claimed: Claimed| match claimed {
            Claimed::Fresh => decided.next().expect("one for each that is fresh"),
            Claimed::Done(answer) => Placed::Replayed(answer),
            Claimed::OtherRequest => Placed::Refused(Code::IdempotencyKeyReused),
            Claimed::InFlight => Placed::Refused(Code::IdempotencyKeyInUse),
        };
        Ok(claimed.into_iter().map(outcome).collect())
    }
}

/// Places the orders of these requests, enqueues their jobs and keeps their answers.
async fn place(
    conn: &mut PgConnection,
    requests: &[&OrderRequest],
) -> Result<Vec<Placed>, CommitError> {
    if requests.is_empty() {
        return Ok(Vec::new());
    }
    let new: Vec<&NewOrder> = requests.iter().map(|request| &request.order).collect();
    let decided = orders::place_many(&mut *conn, &new).await?;

    let mut jobs = Vec::with_capacity(requests.len());
    for (request, decided) in requests.iter().zip(&decided) {
        if let Ok(order) = decided {
            jobs.push(job_of(order)?.trace_context(request.trace_context.clone()));
        }
    }
    enqueue_many(&mut *conn, &jobs).await?;

    let answers: Vec<(Placed, Option<OrderId>)> =
        requests.iter().zip(decided).map(|(request, decided)| answer(request, decided)).collect();
    let kept: Vec<(&Claim, &StoredAnswer, Option<OrderId>)> = requests
        .iter()
        .zip(&answers)
        .filter_map(|(request, (placed, order))| match placed {
            Placed::Answered(answer) => Some((&request.claim, answer, *order)),
            Placed::Replayed(_) | Placed::Refused(_) => None,
        })
        .collect();
    idempotency::store_many(conn, &kept).await?;
    Ok(answers.into_iter().map(|(placed, _order)| placed).collect())
}

fn job_of(order: &Order) -> Result<NewJob, QueueError> {
    match order.kind {
        Kind::Deposit | Kind::Withdrawal => NewJob::new(&ExecuteBankOrder { order: order.id }),
        Kind::Transfer | Kind::Refund => NewJob::new(&ExecuteTransfer { order: order.id }),
    }
}

fn answer(
    request: &OrderRequest,
    decided: Result<Order, PlacementRefusal>,
) -> (Placed, Option<OrderId>) {
    let order = match decided {
        Ok(order) => order,
        Err(refusal) => return (refused(refusal, &request.path), None),
    };
    let id = order.id;
    let collection = match order.kind {
        Kind::Deposit => "deposits",
        Kind::Withdrawal => "withdrawals",
        Kind::Transfer | Kind::Refund => "transfers",
    };
    let body = serde_json::to_vec(&OrderOut::from(order)).expect("an order is JSON");
    let answer = StoredAnswer {
        status: 202,
        location: Some(format!("/v1/{collection}/{id}")),
        content_type: "application/json".to_owned(),
        body: body.into(),
    };
    (Placed::Answered(answer), Some(id))
}

/// The refusal of an order is an answer like any other, and stays the answer to its key. Two are
/// not kept, because the client is to send the same again: a version that has passed, which it will
/// look up again, and a transfer that is not completed yet.
fn refused(refusal: PlacementRefusal, path: &str) -> Placed {
    let problem = match refusal {
        PlacementRefusal::VersionMismatch => return Placed::Refused(Code::PreconditionFailed),
        PlacementRefusal::NotRefundableYet => return Placed::Refused(Code::NotRefundable),
        PlacementRefusal::WalletNotFound => Problem::new(Code::WalletNotFound),
        PlacementRefusal::DestinationNotFound => {
            Problem::new(Code::WalletNotFound).detail("Nobody has the destination wallet.")
        }
        PlacementRefusal::WalletClosed => Problem::new(Code::WalletClosed),
        PlacementRefusal::CurrencyMismatch => Problem::new(Code::CurrencyMismatch),
        PlacementRefusal::SameWallet => Problem::new(Code::SameWallet),
        PlacementRefusal::InsufficientFunds => Problem::new(Code::InsufficientFunds),
        PlacementRefusal::TransferNotFound => Problem::new(Code::OrderNotFound),
        PlacementRefusal::NotRecipient => {
            Problem::new(Code::Forbidden).detail("Only its recipient can refund a transfer.")
        }
        PlacementRefusal::NotRefundable => Problem::new(Code::NotRefundable),
        PlacementRefusal::AlreadyRefunded => Problem::new(Code::AlreadyRefunded),
    };
    Placed::Answered(StoredAnswer {
        status: problem.code().status(),
        location: None,
        content_type: problem::MEDIA_TYPE.to_owned(),
        body: problem.body(path).into(),
    })
}
