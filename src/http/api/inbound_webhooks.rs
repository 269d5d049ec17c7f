//! Inbound webhooks: the transactions that payment providers send.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use poem::{FromRequest, Request, RequestBody};
use poem_openapi::param::Header;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde::Serialize;

use super::ApiTags;
use super::record_transactions::{ReceivedTransaction, RecordTransactions};
use crate::http::edge::client_address::ClientAddress;
use crate::http::edge::intake::{Intake, SourceIndex};
use crate::http::edge::rate_limits::{LimitClass, RateLimits};
use crate::http::edge::shared_commit::SharedCommit;
use crate::http::edge::trace;
use crate::http::wire::field_types::Text;
use crate::http::wire::json_body::{self, JsonBody, json_object};
use crate::http::wire::money::{AmountIn, CurrencyCode};
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, Problem};
use crate::http::wire::refused::{Refusals, Refused};
use crate::payments::transactions::{MAX_NAME_CHARS, NewTransaction, Recorded};
use crate::standard_webhooks::{CurrentVerifier, SignatureHeader, SignatureHeaders};

/// The answer to a sender whose transaction conflicts with a stored one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum ConflictAnswer {
    /// 409: the sender should look.
    #[default]
    Refuse,
    /// 202 with a flag: for senders that never stop sending until they are accepted.
    Accept,
}

/// The API of inbound webhooks.
#[derive(Clone)]
pub struct InboundWebhooksApi {
    /// Believes a sender, or not.
    pub verifier: CurrentVerifier,
    /// Records what is believed.
    pub shared_commit: SharedCommit<RecordTransactions>,
    /// The answer to a conflict.
    pub conflict_answer: ConflictAnswer,
    /// Counts what was answered.
    pub intake: Arc<Intake>,
}

#[OpenApi]
impl InboundWebhooksApi {
    /// Receive a transaction
    ///
    /// Stores the transaction and schedules its settlement in one commit; the 202 is sent after
    /// that commit, so what was accepted is never lost. Send the same request again as often as you
    /// like: one `transaction_id` is one transaction, and a repetition with the same content gets
    /// the same 202.
    ///
    /// Where secrets are configured, requests are signed by the [Standard
    /// Webhooks](https://www.standardwebhooks.com) scheme; where none are, the `webhook-*` headers
    /// are ignored, and by default only programs of the same machine are answered.
    #[oai(
        path = "/v1/webhooks/transactions",
        method = "post",
        operation_id = "receive_transaction",
        tag = "ApiTags::InboundWebhooks"
    )]
    async fn receive_transaction(
        &self,
        _source: AdmittedSource,
        /// The sender's id of this message, the same at every repetition. Visible ASCII without
        /// dots.
        #[oai(name = "webhook-id")]
        id: Header<SignatureHeader>,
        /// The moment at which this attempt was sent, in seconds since 1970. At most five minutes
        /// off.
        #[oai(name = "webhook-timestamp")]
        timestamp: Header<SignatureHeader>,
        /// `v1,` and the base64 of the HMAC-SHA256 of `{webhook-id}.{webhook-timestamp}.{body}`.
        /// Several, separated by spaces, while a secret is rotated.
        #[oai(name = "webhook-signature")]
        signature: Header<SignatureHeader>,
        body: JsonBody<TransactionEvent>,
    ) -> Result<Received, Refused<ReceiveTransaction>> {
        let headers = SignatureHeaders { id: id.0, timestamp: timestamp.0, signature: signature.0 };
        self.verifier
            .now()
            .verify(&headers, &body.bytes, now_unix_secs())
            .map_err(Problem::from)?;
        let transaction = body.read()?;
        trace::note_webhook(&transaction.transaction_id, &transaction.money);

        let recorded = self.shared_commit.commit(ReceivedTransaction::new(transaction)).await?;

        self.intake.count(SourceIndex::default(), recorded);
        trace::note_outcome(recorded.as_str());
        let flag = match recorded {
            Recorded::New(_) | Recorded::Duplicate => None,
            Recorded::Conflict => Some(self.conflict_answer.flag()?),
        };
        Ok(Received::Accepted(Json(Acceptance::new("accepted", flag))))
    }
}

impl ConflictAnswer {
    pub(super) fn flag(self) -> Result<Flag, Problem> {
        match self {
            Self::Refuse => Err(Problem::new(Code::TransactionConflict)),
            Self::Accept => Ok(Flag::Conflict),
        }
    }
}

/// The address of a request is within its limit. An extractor, and the first one, so that whatever
/// else is wrong with a request, it counts.
pub(super) struct AdmittedSource(pub(super) ClientAddress);

impl<'a> FromRequest<'a> for AdmittedSource {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        let (limits, source) = (request.data::<RateLimits>(), request.data::<ClientAddress>());
        let limits = limits.expect("RateLimitHeaders is around all operations");
        let source = source.expect("RateLimitHeaders is around all operations");
        limits.admit(LimitClass::InboundWebhook, &source.subject()).await?;
        Ok(Self(*source))
    }
}

pub(super) fn now_unix_secs() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX)
}

json_object! {
    /// A payment event of a provider's, as it is sent.
    struct TransactionEvent {
        /// The provider's id of the transaction. One id names one transaction for ever.
        transaction_id: Text<MAX_NAME_CHARS>,
        /// The account that the money leaves.
        source_account: Text<MAX_NAME_CHARS>,
        /// The account that the money reaches.
        destination_account: Text<MAX_NAME_CHARS>,
        /// The amount: greater than zero, with no more decimals than the currency has (ISO 4217).
        amount: AmountIn,
        /// The currency of the amount.
        currency: CurrencyCode,
    }

    fn value(fields) -> NewTransaction {
        let transaction_id = match transaction_id {
            // Clients resolve these in a path before they send it, so nobody could read it back.
            Some(Text(id)) if [".", ".."].contains(&id.as_str()) => {
                fields.accept("transaction_id", Err("must not be . or .., which no URL can name"))
            }
            other => other,
        };
        let money = fields.money(amount, currency);
        Some(NewTransaction {
            transaction_id: transaction_id?.0,
            source_account: source_account?.0,
            destination_account: destination_account?.0,
            money: money?,
            body: fields.body(),
        })
    }
}

/// The answer to an accepted transaction.
#[derive(Serialize, Object)]
pub(super) struct Acceptance {
    /// `accepted`; or `ignored`, of an event that is none of those that its source is there for.
    message: String,
    /// `conflict` when the id was known with other content, which was kept for an operator; absent
    /// otherwise. Only where this server is set to accept conflicts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[oai(skip_serializing_if_is_none)]
    flag: Option<Flag>,
}

impl Acceptance {
    pub(super) fn new(message: &str, flag: Option<Flag>) -> Self {
        Self { message: message.to_owned(), flag }
    }
}

/// A remark on an accepted transaction.
#[derive(Clone, Copy, Serialize, Enum)]
#[serde(rename_all = "lowercase")]
#[oai(rename = "AcceptanceFlag", rename_all = "lowercase")]
pub(super) enum Flag {
    /// The id was known with other content.
    Conflict,
}

#[derive(ApiResponse)]
enum Received {
    /// The transaction is stored, now or by an earlier request, and will be settled.
    #[oai(status = 202)]
    Accepted(Json<Acceptance>),
}

/// The refusals of `receive_transaction`.
#[derive(Debug)]
struct ReceiveTransaction;

impl Refusals for ReceiveTransaction {
    const CODES: &'static [&'static [Code]] = &[
        json_body::REFUSALS,
        &[
            Code::InvalidSignature,
            Code::TransactionConflict,
            Code::RateLimited,
            Code::Unavailable,
            Code::Overloaded,
        ],
    ];
}
