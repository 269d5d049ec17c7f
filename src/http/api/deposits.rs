//! Deposits: money that comes in through the bank.

use poem_openapi::OpenApi;
use poem_openapi::param::Path;
use uuid::Uuid;

use super::ApiTags;
use super::orders::{
    FindOrder, ListOrders, OrderAnswer, OrderFound, OrderQuery, OrderService, OrdersListed,
};
use crate::http::edge::caller::{self, Caller};
use crate::http::edge::idempotency::{self, IdempotencyKey};
use crate::http::wire::field_types::Text;
use crate::http::wire::id::Id;
use crate::http::wire::json_body::{self, JsonBody, json_object};
use crate::http::wire::money::{AmountIn, CurrencyCode};
use crate::http::wire::problem::Code;
use crate::http::wire::refused::{Refusals, Refused};
use crate::ids::AccountId;
use crate::payments::orders::{Instruction, Kind, MAX_DESCRIPTION_CHARS, NewOrder};

/// The API of deposits.
#[derive(Clone)]
pub struct DepositsApi {
    /// Takes and shows them.
    pub orders: OrderService,
}

#[OpenApi]
impl DepositsApi {
    /// Deposit money
    ///
    /// Takes the order and answers 202 at once; the bank is asked in the background. The deposit is
    /// `PENDING`, then `PROCESSING` while the bank may know of it, then `COMPLETED` or `FAILED`:
    /// read it at `Location`. The money is in the wallet when it is `COMPLETED`, and only then.
    #[oai(
        path = "/v1/deposits",
        method = "post",
        operation_id = "create_deposit",
        tag = "ApiTags::Deposits"
    )]
    async fn create_deposit(
        &self,
        caller: Caller,
        /// Names this request: send the same key when you send it again. 1 to 255 visible ASCII
        /// characters, bare or quoted.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        body: JsonBody<NewDeposit>,
    ) -> Result<OrderAnswer, Refused<CreateDeposit>> {
        let owner = caller.owner()?;
        let (instruction, description) = body.read()?;
        let order = NewOrder { owner, instruction, description, if_version: None };
        let path = "/v1/deposits".to_owned();
        Ok(self.orders.place(key, path, order).await?)
    }

    /// Get a deposit
    ///
    /// One of yours, as it stands.
    #[oai(
        path = "/v1/deposits/:deposit_id",
        method = "get",
        operation_id = "get_deposit",
        tag = "ApiTags::Deposits"
    )]
    async fn get_deposit(
        &self,
        caller: Caller,
        /// The id of the deposit.
        deposit_id: Path<Id<Uuid>>,
    ) -> Result<OrderFound, Refused<FindOrder>> {
        Ok(self.orders.find(&caller, deposit_id.0.0, &KINDS).await?)
    }

    /// List your deposits
    ///
    /// Newest first.
    #[oai(
        path = "/v1/deposits",
        method = "get",
        operation_id = "list_deposits",
        tag = "ApiTags::Deposits"
    )]
    async fn list_deposits(
        &self,
        caller: Caller,
        query: OrderQuery,
    ) -> Result<OrdersListed, Refused<ListOrders>> {
        Ok(self.orders.list_own(&caller, &KINDS, query).await?)
    }
}

const KINDS: [Kind; 1] = [Kind::Deposit];

json_object! {
    /// A deposit to be made.
    struct NewDeposit {
        /// The wallet, one of yours, that it reaches.
        wallet_id: Uuid,
        /// The amount.
        amount: AmountIn,
        /// The currency of the wallet.
        currency: CurrencyCode,
        /// Your own words, for your own records.
        description: Option<Text<MAX_DESCRIPTION_CHARS>>,
    }

    fn value(fields) -> (Instruction, Option<String>) {
        let money = fields.money(amount, currency);
        let instruction =
            Instruction::Deposit { wallet: AccountId(wallet_id?), money: money? };
        Some((instruction, description?.map(|Text(text)| text)))
    }
}

/// The refusals of `create_deposit`.
#[derive(Debug)]
struct CreateDeposit;

impl Refusals for CreateDeposit {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        json_body::REFUSALS,
        idempotency::REFUSALS,
        &[Code::Forbidden, Code::WalletNotFound, Code::CurrencyMismatch, Code::WalletClosed],
    ];
}
