//! Withdrawals: money that goes out through the bank.

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
use crate::ids::AccountId;
use crate::payments::orders::{Instruction, Kind, MAX_DESCRIPTION_CHARS, NewOrder};

/// The API of withdrawals.
#[derive(Clone)]
pub struct WithdrawalsApi {
    /// Takes and shows them.
    pub orders: OrderService,
}

#[OpenApi]
impl WithdrawalsApi {
    /// Withdraw money
    ///
    /// Takes the order and answers 202 at once; the bank is asked in the background. Until the
    /// withdrawal is finished its amount is held: still in the balance of the wallet, but not
    /// `available`. If it ends `FAILED`, the hold is released; if it ends `COMPLETED`, the money is
    /// gone.
    #[oai(
        path = "/v1/withdrawals",
        method = "post",
        operation_id = "create_withdrawal",
        tag = "ApiTags::Withdrawals"
    )]
    async fn create_withdrawal(
        &self,
        caller: Caller,
        /// Names this request: send the same key when you send it again. 1 to 255 visible ASCII
        /// characters, bare or quoted.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        /// The ETag that the paying wallet must still have; refused with 412 if it has changed.
        #[oai(name = "If-Match")]
        if_match: IfMatch<i64>,
        body: JsonBody<NewWithdrawal>,
    ) -> Result<OrderAnswer, Refused<CreateWithdrawal>> {
        let owner = caller.owner()?;
        let (instruction, description) = body.read()?;
        let order = NewOrder { owner, instruction, description, if_version: if_match.0 };
        let path = "/v1/withdrawals".to_owned();
        Ok(self.orders.place(key, path, order).await?)
    }

    /// Get a withdrawal
    ///
    /// One of yours, as it stands.
    #[oai(
        path = "/v1/withdrawals/:withdrawal_id",
        method = "get",
        operation_id = "get_withdrawal",
        tag = "ApiTags::Withdrawals"
    )]
    async fn get_withdrawal(
        &self,
        caller: Caller,
        /// The id of the withdrawal.
        withdrawal_id: Path<Id<Uuid>>,
    ) -> Result<OrderFound, Refused<FindOrder>> {
        Ok(self.orders.find(&caller, withdrawal_id.0.0, &KINDS).await?)
    }

    /// List your withdrawals
    ///
    /// Newest first.
    #[oai(
        path = "/v1/withdrawals",
        method = "get",
        operation_id = "list_withdrawals",
        tag = "ApiTags::Withdrawals"
    )]
    async fn list_withdrawals(
        &self,
        caller: Caller,
        query: OrderQuery,
    ) -> Result<OrdersListed, Refused<ListOrders>> {
        Ok(self.orders.list_own(&caller, &KINDS, query).await?)
    }
}

const KINDS: [Kind; 1] = [Kind::Withdrawal];

json_object! {
    /// A withdrawal to be made.
    struct NewWithdrawal {
        /// The wallet, one of yours, that it leaves.
        wallet_id: Uuid,
        /// The amount.
        amount: AmountIn,
        /// The currency of the wallet.
        currency: HeldCurrencyCode,
        /// Your own words, for your own records.
        description: Option<Text<MAX_DESCRIPTION_CHARS>>,
    }

    fn value(fields) -> (Instruction, Option<String>) {
        let money = fields.money(amount, currency);
        let instruction =
            Instruction::Withdrawal { wallet: AccountId(wallet_id?), money: money? };
        Some((instruction, description?.map(|Text(text)| text)))
    }
}

/// The refusals of `create_withdrawal`.
#[derive(Debug)]
struct CreateWithdrawal;

impl Refusals for CreateWithdrawal {
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
            Code::WalletClosed,
        ],
    ];
}
