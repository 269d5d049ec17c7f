//! Timelines of transactions and orders.

use poem_openapi::param::Path;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Serialize;
use sqlx::{Connection as _, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::ApiTags;
use crate::http::edge::caller::{self, Caller, Right};
use crate::http::edge::database::within_seconds;
use crate::http::wire::any_json::AnyJson;
use crate::http::wire::id::Id;
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, Problem};
use crate::http::wire::refused::{Refusals, Refused};
use crate::ids::OrderId;
use crate::operations::timeline::{self, TimelineError, TimelineEvent};
use crate::payments::orders::{self, Kind};

/// The API of timelines.
#[derive(Clone)]
pub struct TimelinesApi {
    /// The database to read them from.
    pub pool: PgPool,
}

#[OpenApi]
impl TimelinesApi {
    /// Get the timeline of a transaction
    ///
    /// Acceptance, conflicts, its job and that job's attempts, entries in the ledger, and what
    /// operators did, in order and with traces; for viewers and above.
    #[oai(
        path = "/v1/transactions/:transaction_id/timeline",
        method = "get",
        operation_id = "get_transaction_timeline",
        tag = "ApiTags::Transactions"
    )]
    async fn get_transaction_timeline(
        &self,
        caller: Caller,
        /// The provider's id of the transaction, percent-encoded where needed.
        transaction_id: Path<String>,
    ) -> Result<Found, Refused<TransactionTimeline>> {
        caller.require(Right::Read)?;
        let id = transaction_id.0;
        let not_found = || Problem::new(Code::TransactionNotFound);
        if id.contains('\0') {
            return Err(not_found().into());
        }
        let found = within_seconds(&self.pool, async |conn| {
            let mut tx = conn.begin_with(SNAPSHOT).await?;
            let found = timeline::of_transaction(&mut tx, &id).await?;
            tx.rollback().await?;
            Ok(found)
        });
        let events = found.await?.ok_or_else(not_found)?;
        Ok(Found::Ok(Json(events.into())))
    }

    /// Get the timeline of a deposit
    ///
    /// As that of a transaction, with the calls to the bank; for viewers and above.
    #[oai(
        path = "/v1/deposits/:deposit_id/timeline",
        method = "get",
        operation_id = "get_deposit_timeline",
        tag = "ApiTags::Deposits"
    )]
    async fn get_deposit_timeline(
        &self,
        caller: Caller,
        /// The id of the deposit.
        deposit_id: Path<Id<Uuid>>,
    ) -> Result<Found, Refused<OrderTimeline>> {
        Ok(self.of_order(&caller, deposit_id.0.0, &[Kind::Deposit]).await?)
    }

    /// Get the timeline of a withdrawal
    ///
    /// As that of a transaction, with the calls to the bank; for viewers and above.
    #[oai(
        path = "/v1/withdrawals/:withdrawal_id/timeline",
        method = "get",
        operation_id = "get_withdrawal_timeline",
        tag = "ApiTags::Withdrawals"
    )]
    async fn get_withdrawal_timeline(
        &self,
        caller: Caller,
        /// The id of the withdrawal.
        withdrawal_id: Path<Id<Uuid>>,
    ) -> Result<Found, Refused<OrderTimeline>> {
        Ok(self.of_order(&caller, withdrawal_id.0.0, &[Kind::Withdrawal]).await?)
    }

    /// Get the timeline of a transfer or refund
    ///
    /// As that of a transaction; for viewers and above.
    #[oai(
        path = "/v1/transfers/:transfer_id/timeline",
        method = "get",
        operation_id = "get_transfer_timeline",
        tag = "ApiTags::Transfers"
    )]
    async fn get_transfer_timeline(
        &self,
        caller: Caller,
        /// The id of the transfer.
        transfer_id: Path<Id<Uuid>>,
    ) -> Result<Found, Refused<OrderTimeline>> {
        Ok(self.of_order(&caller, transfer_id.0.0, &[Kind::Transfer, Kind::Refund]).await?)
    }
}

/// All sources tell of one moment.
const SNAPSHOT: &str = "begin isolation level repeatable read read only";

impl TimelinesApi {
    async fn of_order(&self, caller: &Caller, id: Uuid, kinds: &[Kind]) -> Result<Found, Problem> {
        caller.require(Right::Read)?;
        let found = within_seconds(&self.pool, async |conn| {
            let mut tx = conn.begin_with(SNAPSHOT).await?;
            let order = orders::find(&mut tx, OrderId(id)).await?;
            if !order.is_some_and(|order| kinds.contains(&order.kind)) {
                return Ok(None);
            }
            let found = timeline::of_order(&mut tx, OrderId(id)).await?;
            tx.rollback().await?;
            Ok(found)
        });
        let events = found.await?.ok_or_else(|| Problem::new(Code::OrderNotFound))?;
        Ok(Found::Ok(Json(events.into())))
    }
}

impl From<TimelineError> for Problem {
    fn from(error: TimelineError) -> Self {
        match error {
            TimelineError::Queue(error) => error.into(),
            TimelineError::Ledger(error) => error.into(),
            TimelineError::Transaction(error) => error.into(),
            TimelineError::Database(error) => error.into(),
        }
    }
}

/// The events about one thing, in order.
#[derive(Debug, Serialize, Object)]
struct Timeline {
    /// The events, the earliest first.
    events: Vec<TimelineEventOut>,
}

/// Something that happened.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "TimelineEvent")]
struct TimelineEventOut {
    /// The moment.
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    /// The source: `money`, `job`, `bank` or `audit`; there may be more.
    source: String,
    /// The event, as a stable word of its source.
    event: String,
    /// The trace that it is part of; null where none is known.
    #[oai(nullable)]
    trace_id: Option<String>,
    /// More about it; the fields depend on the event.
    details: AnyJson,
}

impl From<Vec<TimelineEvent>> for Timeline {
    fn from(events: Vec<TimelineEvent>) -> Self {
        let events = events.into_iter().map(|event| TimelineEventOut {
            at: event.at,
            source: event.source.to_owned(),
            event: event.event,
            trace_id: event.trace_id,
            details: AnyJson(event.details.into()),
        });
        Self { events: events.collect() }
    }
}

#[derive(ApiResponse)]
enum Found {
    /// The timeline.
    #[oai(status = 200)]
    Ok(Json<Timeline>),
}

/// The refusals of `get_transaction_timeline`.
#[derive(Debug)]
struct TransactionTimeline;

impl Refusals for TransactionTimeline {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::Forbidden, Code::TransactionNotFound]];
}

/// The refusals of the timelines of orders.
#[derive(Debug)]
struct OrderTimeline;

impl Refusals for OrderTimeline {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::Forbidden, Code::OrderNotFound]];
}
