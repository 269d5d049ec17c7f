//! The service that places, finds and lists orders.

use sha2::{Digest, Sha256};
use sqlx::PgPool;
use uuid::Uuid;

use super::answers::{OrderAnswer, OrderFound, OrdersListed};
use super::bodies::OrderPage;
use super::list_query::OrderQuery;
use super::placement::{OrderRequest, PlaceOrders, Placed};
use crate::http::edge::caller::Caller;
use crate::http::edge::database::within_seconds;
use crate::http::edge::idempotency::{Claim, IdempotencyKey};
use crate::http::edge::shared_commit::SharedCommit;
use crate::http::wire::lists;
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, Problem};
use crate::ids::{AccountId, OrderId, UserId};
use crate::payments::orders::{self, Filter, Instruction, Kind, NewOrder};
use crate::payments::wallets;
use crate::queue::telemetry::TraceContext;

/// Places, finds and lists orders, for the APIs of deposits, withdrawals and transfers.
#[derive(Clone)]
pub struct OrderService {
    /// Takes orders.
    pub shared_commit: SharedCommit<PlaceOrders>,
    /// The database to read orders from.
    pub pool: PgPool,
}

impl OrderService {
    /// Places the order that a request to this path is for, once for each key of the owner's,
    /// whichever of his sessions or API keys it comes by.
    ///
    /// # Errors
    ///
    /// [`Code::IdempotencyKeyInUse`], [`Code::IdempotencyKeyReused`],
    /// [`Code::PreconditionFailed`], and those of [`SharedCommit::commit`]. A refusal for reasons
    /// of business is an answer and no error.
    pub async fn place(
        &self,
        IdempotencyKey(key): IdempotencyKey,
        path: String,
        order: NewOrder,
    ) -> Result<OrderAnswer, Problem> {
        let claim = Claim {
            caller: format!("user:{}", order.owner),
            route: format!("POST {path}"),
            key,
            fingerprint: fingerprint(&order),
        };
        let request = OrderRequest { claim, order, path, trace_context: TraceContext::current() };
        match self.shared_commit.commit(request).await? {
            Placed::Answered(answer) => Ok(OrderAnswer { answer, is_replay: false }),
            Placed::Replayed(answer) => Ok(OrderAnswer { answer, is_replay: true }),
            Placed::Refused(code) => Err(Problem::new(code)),
        }
    }

    /// The order with this id, if it is of one of these kinds and the caller has a part in it.
    ///
    /// # Errors
    ///
    /// [`Code::OrderNotFound`], [`Code::Unavailable`].
    pub async fn find(
        &self,
        caller: &Caller,
        id: Uuid,
        kinds: &[Kind],
    ) -> Result<OrderFound, Problem> {
        let order = within_seconds(&self.pool, async |conn| {
            let found = orders::find(conn, OrderId(id)).await?;
            let Some(order) = found.filter(|order| kinds.contains(&order.kind)) else {
                return Ok(None);
            };
            if caller.may_read(order.owner) {
                return Ok(Some(order));
            }
            // Who receives a transfer has a part in it, too.
            let payee = wallets::find(conn, order.destination).await?;
            Ok(payee.filter(|payee| caller.may_read(payee.owner)).map(|_| order))
        })
        .await?;
        let order = order.ok_or_else(|| Problem::new(Code::OrderNotFound))?;
        Ok(OrderFound::Ok(Json(order.into())))
    }

    /// A page of the caller's own orders of these kinds.
    ///
    /// # Errors
    ///
    /// [`Code::Forbidden`] for a key that acts for nobody, and those of [`Self::list`].
    pub async fn list_own(
        &self,
        caller: &Caller,
        kinds: &[Kind],
        query: OrderQuery,
    ) -> Result<OrdersListed, Problem> {
        let page = self.list(caller.owner()?, kinds, query).await?;
        Ok(OrdersListed::Ok(Json(page.unwrap_or_default())))
    }

    /// A page of the orders of these kinds, or of all if none is named, that move money of this
    /// user's. None when there is no such user: each has a wallet from the start.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidCursor`], [`Code::Unavailable`].
    pub async fn list(
        &self,
        user: UserId,
        kinds: &[Kind],
        query: OrderQuery,
    ) -> Result<Option<OrderPage>, Problem> {
        let OrderQuery { status, created_from, created_before, limit, cursor } = query;
        let status = status.map(orders::Status::from);
        let list =
            format!("orders 1 {user} {kinds:?} {status:?} {created_from:?} {created_before:?}");
        let before = cursor.map(|text| lists::read_cursor::<16>(&text, &list)).transpose()?;
        let before = before.map(|bytes| OrderId(Uuid::from_bytes(bytes)));
        let found = within_seconds(&self.pool, async |conn| {
            let accounts: Vec<AccountId> =
                wallets::list(conn, user).await?.into_iter().map(|wallet| wallet.id).collect();
            if accounts.is_empty() {
                return Ok(None);
            }
            let kinds = kinds.to_vec();
            let filter = Filter { accounts, kinds, status, created_from, created_before };
            // One more than the page holds, to know whether there is another page.
            Ok(Some(orders::list(conn, &filter, before, limit + 1).await?))
        })
        .await?;
        Ok(found.map(|found| OrderPage::new(found, limit, &list)))
    }
}

/// Hashes the meaning of a request, not its spelling. The version that a wallet must have is a
/// condition of the request and no part of its meaning.
fn fingerprint(order: &NewOrder) -> [u8; 32] {
    let meaning = match order.instruction {
        Instruction::Deposit { wallet, money } => format!("deposit {wallet} {money}"),
        Instruction::Withdrawal { wallet, money } => format!("withdrawal {wallet} {money}"),
        Instruction::Transfer { source, destination, money } => {
            format!("transfer {source} {destination} {money}")
        }
        Instruction::Refund { transfer } => format!("refund {transfer}"),
    };
    Sha256::digest(format!("{meaning} {:?}", order.description)).into()
}
