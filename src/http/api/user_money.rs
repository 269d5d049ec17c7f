//! A user's balances and orders, over all of the user's wallets.

use poem_openapi::param::Path;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Serialize;
use uuid::Uuid;

use super::ApiTags;
use super::orders::{OrderQuery, OrderService, OrdersListed};
use super::wallets::WalletOut;
use crate::http::edge::caller::{self, Caller};
use crate::http::edge::database::within_seconds;
use crate::http::wire::id::Id;
use crate::http::wire::money::{BalanceOut, CurrencyCode};
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, Problem};
use crate::http::wire::refused::{Refusals, Refused};
use crate::ids::UserId;
use crate::payments::wallets;

/// The API of what a user has.
#[derive(Clone)]
pub struct UserMoneyApi {
    /// Shows orders.
    pub orders: OrderService,
}

#[OpenApi]
impl UserMoneyApi {
    /// Get the balance of a user
    ///
    /// That of the first wallet, and of all wallets.
    #[oai(
        path = "/v1/users/:user_id/balance",
        method = "get",
        operation_id = "get_user_balance",
        tag = "ApiTags::Users"
    )]
    async fn get_user_balance(
        &self,
        caller: Caller,
        /// The user's id.
        user_id: Path<Id<Uuid>>,
    ) -> Result<UserBalanceFound, Refused<GetUserBalance>> {
        let user = readable(&caller, user_id.0.0)?;
        let found =
            within_seconds(&self.orders.pool, async |conn| Ok(wallets::list(conn, user).await?))
                .await?;
        // Every user has a wallet from the start.
        let first = found.first().ok_or_else(|| Problem::new(Code::UserNotFound))?;
        Ok(UserBalanceFound::Ok(Json(UserBalance {
            user_id: user.0,
            balance: BalanceOut(first.balance),
            available: BalanceOut(first.available),
            currency: CurrencyCode(first.balance.currency()),
            wallets: found.into_iter().map(WalletOut::from).collect(),
        })))
    }

    /// List the transactions of a user
    ///
    /// Deposits, withdrawals, transfers in either direction, and refunds. Newest first.
    #[oai(
        path = "/v1/users/:user_id/transactions",
        method = "get",
        operation_id = "list_user_transactions",
        tag = "ApiTags::Users"
    )]
    async fn list_user_transactions(
        &self,
        caller: Caller,
        /// The user's id.
        user_id: Path<Id<Uuid>>,
        query: OrderQuery,
    ) -> Result<OrdersListed, Refused<ListUserTransactions>> {
        let user = readable(&caller, user_id.0.0)?;
        let page = self.orders.list(user, &[], query).await?;
        let page = page.ok_or_else(|| Problem::new(Code::UserNotFound))?;
        Ok(OrdersListed::Ok(Json(page)))
    }
}

/// The user, if the caller may read what is the user's; otherwise there is none.
fn readable(caller: &Caller, id: Uuid) -> Result<UserId, Problem> {
    let user = UserId(id);
    match caller.may_read(user) {
        true => Ok(user),
        false => Err(Problem::new(Code::UserNotFound)),
    }
}

/// The balances of a user.
#[derive(Debug, Serialize, Object)]
struct UserBalance {
    /// The user.
    user_id: Uuid,
    /// The balance of the first wallet.
    balance: BalanceOut,
    /// The part of that balance that no unfinished withdrawal or transfer holds.
    available: BalanceOut,
    /// The currency of the first wallet.
    currency: CurrencyCode,
    /// All wallets, the first among them.
    wallets: Vec<WalletOut>,
}

#[derive(ApiResponse)]
enum UserBalanceFound {
    /// The balance.
    #[oai(status = 200)]
    Ok(Json<UserBalance>),
}

/// The refusals of `get_user_balance`.
#[derive(Debug)]
struct GetUserBalance;

impl Refusals for GetUserBalance {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::UserNotFound]];
}

/// The refusals of `list_user_transactions`.
#[derive(Debug)]
struct ListUserTransactions;

impl Refusals for ListUserTransactions {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::InvalidCursor, Code::UserNotFound]];
}
