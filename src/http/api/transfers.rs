//! Transfers: money that goes from one wallet to another, and refunds, which give it back.

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
use crate::http::wire::if_match::IfMatch;
use crate::http::wire::json_body::{self, JsonBody, json_object};
use crate::http::wire::money::{AmountIn, HeldCurrencyCode};
use crate::http::wire::problem::Code;
use crate::http::wire::refused::{Refusals, Refused};
use crate::ids::{AccountId, OrderId};
use crate::payments::orders::{Instruction, Kind, MAX_DESCRIPTION_CHARS, NewOrder};

/// The API of transfers.
#[derive(Clone)]
pub struct TransfersApi {
    /// Takes and shows them.
    pub orders: OrderService,
}

#[OpenApi]
impl TransfersApi {
    /// Transfer money
    ///
    /// From a wallet of yours to any other wallet of the same currency. The amount is held on your
    /// wallet with this very request, so a transfer that was taken does not fail for lack of funds;
    /// it is `PENDING` until it is executed, a moment later, by one commit that moves the money and
    /// makes it `COMPLETED`.
    #[oai(
        path = "/v1/transfers",
        method = "post",
        operation_id = "create_transfer",
        tag = "ApiTags::Transfers"
    )]
    async fn create_transfer(
        &self,
        caller: Caller,
        /// Names this request: send the same key when you send it again. 1 to 255 visible ASCII
        /// characters, bare or quoted.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        /// The ETag that the paying wallet must still have; refused with 412 if it has changed.
        #[oai(name = "If-Match")]
        if_match: IfMatch<i64>,
        body: JsonBody<NewTransfer>,
    ) -> Result<OrderAnswer, Refused<CreateTransfer>> {
        let owner = caller.owner()?;
        let (instruction, description) = body.read()?;
        let order = NewOrder { owner, instruction, description, if_version: if_match.0 };
        let path = "/v1/transfers".to_owned();
        Ok(self.orders.place(key, path, order).await?)
    }

    /// Refund a transfer
    ///
    /// Gives back all that a transfer brought you. It can be done once, by whoever received it,
    /// when the transfer is `COMPLETED`. Gives a new transfer of type `refund`.
    #[oai(
        path = "/v1/transfers/:transfer_id/refund",
        method = "post",
        operation_id = "refund_transfer",
        tag = "ApiTags::Transfers"
    )]
    async fn refund_transfer(
        &self,
        caller: Caller,
        /// The id of the transfer.
        transfer_id: Path<Id<Uuid>>,
        /// Names this request: send the same key when you send it again. 1 to 255 visible ASCII
        /// characters, bare or quoted.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
    ) -> Result<OrderAnswer, Refused<RefundTransfer>> {
        let owner = caller.owner()?;
        let instruction = Instruction::Refund { transfer: OrderId(transfer_id.0.0) };
        let order = NewOrder { owner, instruction, description: None, if_version: None };
        let path = format!("/v1/transfers/{}/refund", transfer_id.0.0);
        Ok(self.orders.place(key, path, order).await?)
    }

    /// Get a transfer
    ///
    /// One that you paid or received, or its refund.
    #[oai(
        path = "/v1/transfers/:transfer_id",
        method = "get",
        operation_id = "get_transfer",
        tag = "ApiTags::Transfers"
    )]
    async fn get_transfer(
        &self,
        caller: Caller,
        /// The id of the transfer.
        transfer_id: Path<Id<Uuid>>,
    ) -> Result<OrderFound, Refused<FindOrder>> {
        Ok(self.orders.find(&caller, transfer_id.0.0, &KINDS).await?)
    }

    /// List your transfers
    ///
    /// Those that you paid or received, and refunds. Newest first.
    #[oai(
        path = "/v1/transfers",
        method = "get",
        operation_id = "list_transfers",
        tag = "ApiTags::Transfers"
    )]
    async fn list_transfers(
        &self,
        caller: Caller,
        query: OrderQuery,
    ) -> Result<OrdersListed, Refused<ListOrders>> {
        Ok(self.orders.list_own(&caller, &KINDS, query).await?)
    }
}

const KINDS: [Kind; 2] = [Kind::Transfer, Kind::Refund];

json_object! {
    /// A transfer to be made.
    struct NewTransfer {
        /// The wallet that pays, one of yours.
        source_wallet_id: Uuid,
        /// The wallet that is paid.
        destination_wallet_id: Uuid,
        /// The amount.
        amount: AmountIn,
        /// The currency of both wallets.
        currency: HeldCurrencyCode,
        /// Your own words, which the recipient can read.
        description: Option<Text<MAX_DESCRIPTION_CHARS>>,
    }

    fn value(fields) -> (Instruction, Option<String>) {
        let money = fields.money(amount, currency);
        let instruction = Instruction::Transfer {
            source: AccountId(source_wallet_id?),
            destination: AccountId(destination_wallet_id?),
            money: money?,
        };
        Some((instruction, description?.map(|Text(text)| text)))
    }
}

/// The refusals of `create_transfer`.
#[derive(Debug)]
struct CreateTransfer;

impl Refusals for CreateTransfer {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        json_body::REFUSALS,
        idempotency::REFUSALS,
        &[
            Code::InvalidIfMatch,
            Code::Forbidden,
            Code::WalletNotFound,
            Code::PreconditionFailed,
            Code::InsufficientFunds,
            Code::CurrencyMismatch,
            Code::SameWallet,
            Code::WalletClosed,
        ],
    ];
}

/// The refusals of `refund_transfer`.
#[derive(Debug)]
struct RefundTransfer;

impl Refusals for RefundTransfer {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        idempotency::REFUSALS,
        &[
            Code::InvalidParameter,
            Code::Forbidden,
            Code::OrderNotFound,
            Code::RequestTimeout,
            Code::AlreadyRefunded,
            Code::NotRefundable,
            Code::BodyTooLarge,
            Code::InsufficientFunds,
            Code::WalletClosed,
        ],
    ];
}
