//! Transactions, for those who want to know what became of them.

use poem::http::Uri;
use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde::Serialize;
use sqlx::PgPool;
use time::OffsetDateTime;

use super::ApiTags;
use crate::http::api::failure_reasons::FailureReason;
use crate::http::edge::caller::{self, TransactionReader};
use crate::http::edge::database::within_seconds;
use crate::http::wire::lists::{
    self, DEFAULT_LIMIT, cursor_after, read_cursor, refuse_unknown_parameters,
};
use crate::http::wire::moment::Moment;
use crate::http::wire::money::{AmountOut, CurrencyCode, HeldCurrencyCode};
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, Problem, is_about_the_data};
use crate::http::wire::refused::{Refusals, Refused};
use crate::ids::TransactionId;
use crate::payments::transactions::{self, Filter, Status, Transaction, TransactionError};

/// The API of transactions.
#[derive(Clone)]
pub struct TransactionsApi {
    /// The database to read transactions from.
    pub pool: PgPool,
}

#[OpenApi]
impl TransactionsApi {
    /// Get a transaction
    ///
    /// A transaction is `PROCESSING` from its acceptance until its job has settled it.
    ///
    /// A server that listens beyond its own machine shows transactions to viewers and above only,
    /// unless it is set to show them to anybody.
    #[oai(
        path = "/v1/transactions/:transaction_id",
        method = "get",
        operation_id = "get_transaction",
        tag = "ApiTags::Transactions"
    )]
    async fn get_transaction(
        &self,
        _reader: TransactionReader,
        /// The provider's id of the transaction, percent-encoded where needed.
        transaction_id: Path<String>,
    ) -> Result<Found, Refused<GetTransaction>> {
        let id = transaction_id.0;
        if id.contains('\0') {
            return Err(Problem::new(Code::TransactionNotFound).into());
        }
        let found =
            within_seconds(&self.pool, async |conn| Ok(transactions::find(conn, &id).await?));
        let found = found.await?;
        let transaction = found.ok_or_else(|| Problem::new(Code::TransactionNotFound))?;
        Ok(Found::Ok(Json(transaction.into())))
    }

    /// List transactions
    ///
    /// Newest first. A page that is not the last has a `next_cursor`: send it with the same filters
    /// to get the next page. Transactions that arrive meanwhile do not shift the pages.
    #[oai(
        path = "/v1/transactions",
        method = "get",
        operation_id = "list_transactions",
        tag = "ApiTags::Transactions"
    )]
    #[allow(clippy::too_many_arguments)] // Each is a documented parameter.
    async fn list_transactions(
        &self,
        _reader: TransactionReader,
        uri: &Uri,
        /// Only those in this state.
        status: Query<Option<TransactionStatus>>,
        /// Only those in this currency.
        currency: Query<Option<HeldCurrencyCode>>,
        /// Only those from or to this account.
        #[oai(validator(min_length = 1, max_length = 255))]
        account: Query<Option<String>>,
        /// Only those created at this time or later (RFC 3339).
        created_from: Query<Option<Moment>>,
        /// Only those created before this time (RFC 3339).
        created_before: Query<Option<Moment>>,
        /// The most items on a page; 50 when absent.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Listed, Refused<ListTransactions>> {
        refuse_unknown_parameters(uri, &LIST_PARAMETERS)?;
        if account.0.as_ref().is_some_and(|name| name.contains('\0')) {
            return Err(Problem::parameter("account", "No account's name has U+0000.").into());
        }
        let filter = Filter {
            status: status.0.map(Status::from),
            currency: currency.0.map(|it| it.0),
            account: account.0,
            created_from: created_from.0.map(Moment::boundary),
            created_before: created_before.0.map(Moment::boundary),
        };
        let before = cursor.0.map(|text| read_cursor(&text, &list_of(&filter))).transpose()?;
        let before = before.map(|id| TransactionId(i64::from_be_bytes(id)));
        let limit = limit.0.unwrap_or(DEFAULT_LIMIT);
        // One more than the page holds, to know whether there is another page.
        let found = within_seconds(&self.pool, async |conn| {
            Ok(transactions::list(conn, &filter, before, limit + 1).await?)
        });
        let found = found.await?;
        Ok(Listed::Ok(Json(TransactionPage::new(found, limit, &filter))))
    }
}

const LIST_PARAMETERS: [&str; 7] =
    ["status", "currency", "account", "created_from", "created_before", "limit", "cursor"];

impl From<TransactionError> for Problem {
    fn from(error: TransactionError) -> Self {
        let code = match &error {
            TransactionError::Database(error) if !is_about_the_data(error) => Code::Unavailable,
            TransactionError::Database(_)
            | TransactionError::NotMoney(_)
            | TransactionError::Vanished => Code::InternalError,
        };
        Problem::new(code).cause(error)
    }
}

/// The list that a cursor is bound to.
fn list_of(filter: &Filter) -> String {
    let Filter { status, currency, account, created_from, created_before } = filter;
    let nanos = |time: &Option<OffsetDateTime>| time.map(OffsetDateTime::unix_timestamp_nanos);
    let created = (nanos(created_from), nanos(created_before));
    format!("list_transactions 2 {status:?} {currency:?} {account:?} {created:?}")
}

/// Where a transaction stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Enum)]
#[serde(rename_all = "UPPERCASE")]
#[oai(rename_all = "UPPERCASE")]
pub enum TransactionStatus {
    /// Known, and nothing was begun.
    Pending,
    /// Accepted, and on its way.
    Processing,
    /// Settled: its transfer is in the ledger. Final.
    Completed,
    /// It broke a rule, or was given up, and moved no money; `failure_reason` says why. Final: it
    /// never moves any. What an operator may still bring to its end is `PROCESSING`.
    Failed,
}

impl From<TransactionStatus> for Status {
    fn from(status: TransactionStatus) -> Self {
        match status {
            TransactionStatus::Pending => Self::Pending,
            TransactionStatus::Processing => Self::Processing,
            TransactionStatus::Completed => Self::Completed,
            TransactionStatus::Failed => Self::Failed,
        }
    }
}

impl From<Status> for TransactionStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::Processing => Self::Processing,
            Status::Completed => Self::Completed,
            Status::Failed => Self::Failed,
        }
    }
}

/// A transaction.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Transaction")]
pub struct TransactionOut {
    /// The provider's id of the transaction.
    transaction_id: String,
    /// The account that the money leaves.
    source_account: String,
    /// The account that the money reaches.
    destination_account: String,
    /// The amount, with exactly the decimals of the currency (ISO 4217).
    amount: AmountOut,
    /// The currency of the amount.
    currency: CurrencyCode,
    /// Where the transaction stands.
    status: TransactionStatus,
    /// The reason of its failure, as a stable code; null unless it failed.
    #[oai(nullable)]
    failure_reason: Option<FailureReason>,
    /// The moment at which it was first received.
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    /// The moment of its outcome; null until then.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    processed_at: Option<OffsetDateTime>,
}

impl From<Transaction> for TransactionOut {
    fn from(transaction: Transaction) -> Self {
        Self {
            transaction_id: transaction.transaction_id,
            source_account: transaction.source_account,
            destination_account: transaction.destination_account,
            amount: AmountOut(transaction.money),
            currency: CurrencyCode(transaction.money.currency()),
            status: transaction.status.into(),
            failure_reason: transaction.failure_reason.map(FailureReason),
            created_at: transaction.created_at,
            processed_at: transaction.processed_at,
        }
    }
}

/// A page of transactions, newest first.
#[derive(Debug, Serialize, Object)]
struct TransactionPage {
    /// The transactions of this page.
    transactions: Vec<TransactionOut>,
    /// The `cursor` of the next page; null on the last page.
    #[oai(nullable)]
    next_cursor: Option<String>,
}

impl TransactionPage {
    fn new(found: Vec<Transaction>, limit: u16, filter: &Filter) -> Self {
        let (found, last) = lists::page(found, limit);
        let next_cursor = last.map(|last| cursor_after(last.id.0.to_be_bytes(), &list_of(filter)));
        Self { transactions: found.into_iter().map(Into::into).collect(), next_cursor }
    }
}

#[derive(ApiResponse)]
enum Found {
    /// The transaction.
    #[oai(status = 200)]
    Ok(Json<TransactionOut>),
}

#[derive(ApiResponse)]
enum Listed {
    /// The page.
    #[oai(status = 200)]
    Ok(Json<TransactionPage>),
}

/// The refusals of `get_transaction`.
#[derive(Debug)]
struct GetTransaction;

impl Refusals for GetTransaction {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::Forbidden, Code::TransactionNotFound]];
}

/// The refusals of `list_transactions`.
#[derive(Debug)]
struct ListTransactions;

impl Refusals for ListTransactions {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::InvalidCursor, Code::Forbidden]];
}
