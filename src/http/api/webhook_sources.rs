//! Inbound webhooks of providers that have a shape and a scheme of their own.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use poem::http::{HeaderMap, header};
use poem_openapi::param::Path;
use poem_openapi::{ApiResponse, OpenApi};
use tokio::sync::watch;

use super::ApiTags;
use super::inbound_webhooks::{Acceptance, AdmittedSource, ConflictAnswer, now_unix_secs};
use super::record_transactions::{ReceivedTransaction, RecordTransactions};
use crate::http::edge::client_address::ClientAddress;
use crate::http::edge::intake::{Intake, SourceIndex};
use crate::http::edge::rate_limits::{Limit, LimitClass, RateLimits};
use crate::http::edge::rejections::{Rejected, Rejections};
use crate::http::edge::shared_commit::SharedCommit;
use crate::http::edge::trace;
use crate::http::wire::json_body;
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, FieldError, Problem};
use crate::http::wire::raw_body::RawBody;
use crate::http::wire::refused::{Refusals, Refused};
use crate::http::wire::request_body::require_json;
use crate::payments::transactions::{NewTransaction, Recorded};
use crate::providers::document::DocumentError;
use crate::providers::mapping::{Fault, MappedTransaction, Unmappable};
use crate::providers::{Mapped, MappingError, Source};
use crate::standard_webhooks::SignatureHeader;

/// The API of other sources of webhooks.
#[derive(Clone)]
pub struct WebhookSourcesApi {
    /// The sources that count at the moment.
    pub sources: watch::Receiver<SourcesByName>,
    /// Records what is believed.
    pub shared_commit: SharedCommit<RecordTransactions>,
    /// Counts what was answered.
    pub intake: Arc<Intake>,
    /// Keeps what was refused.
    pub rejections: Arc<Rejections>,
    /// Holds each source to its limit.
    pub limits: RateLimits,
}

/// The sources that are served, by name.
pub type SourcesByName = Arc<HashMap<String, OpenSource>>;

/// A source that is served.
#[derive(Clone, Debug)]
pub struct OpenSource {
    /// Its description.
    pub source: Source,
    /// Its place among the counts.
    pub index: SourceIndex,
    /// The most verified deliveries in a time.
    pub limit: Limit,
    /// The answer to a conflict.
    pub conflict_answer: ConflictAnswer,
}

#[OpenApi]
impl WebhookSourcesApi {
    /// Receive an event of a provider
    ///
    /// For providers that sign and send by their own rules, each configured as a source of this
    /// server: `stripe`, `adyen`, `github`, `shopify`, an HMAC in a header, or Standard Webhooks.
    /// Nothing unsigned is taken. The event is a transaction by the mapping of its source, stored
    /// and answered as by `POST /v1/webhooks/transactions`; an event that the source is not there
    /// for is answered 202 with `ignored` and not stored.
    #[oai(
        path = "/v1/webhooks/sources/:source",
        method = "post",
        operation_id = "receive_provider_event",
        tag = "ApiTags::InboundWebhooks"
    )]
    async fn receive_provider_event(
        &self,
        address: AdmittedSource,
        /// The name of the source.
        source: Path<String>,
        headers: &HeaderMap,
        body: RawBody,
    ) -> Result<Received, Refused<ReceiveProviderEvent>> {
        let sources = Arc::clone(&self.sources.borrow());
        let open = sources.get(&source.0).ok_or_else(|| Problem::new(Code::SourceNotFound))?;
        let delivery = Delivery { open, body: &body.0, address: address.0 };

        delivery.require_json(headers).map_err(|refusal| self.reject(&delivery, *refusal))?;
        delivery.verify(headers).map_err(|refusal| self.reject(&delivery, *refusal))?;
        let subject = format!("source:{}", open.source.name);
        self.limits.admit_by(open.limit, LimitClass::WebhookSource, &subject).await?;
        let mapped = delivery.map().map_err(|refusal| self.reject(&delivery, *refusal))?;
        let Mapped::Transaction(transaction) = mapped else {
            self.intake.count_ignored(open.index);
            trace::note_outcome("ignored");
            return Ok(Received::Accepted(Json(Acceptance::new("ignored", None))));
        };
        trace::note_webhook(&transaction.transaction_id, &transaction.money);

        let transaction = new_transaction(transaction, body.0.clone());
        let recorded = self.shared_commit.commit(ReceivedTransaction::new(transaction)).await?;

        self.intake.count(open.index, recorded);
        trace::note_outcome(recorded.as_str());
        let flag = match recorded {
            Recorded::New(_) | Recorded::Duplicate => None,
            Recorded::Conflict => Some(open.conflict_answer.flag()?),
        };
        Ok(Received::Accepted(Json(Acceptance::new("accepted", flag))))
    }
}

impl WebhookSourcesApi {
    fn reject(&self, delivery: &Delivery<'_>, refusal: Refusal) -> Problem {
        let Refusal { problem, reason, detail, is_verified } = refusal;
        let source = delivery.open.source.name.as_str();
        tracing::info!(source, reason, "webhook of source {source} refused: {detail}");
        self.rejections.note(Rejected {
            source,
            reason,
            detail: &detail,
            is_verified,
            body: delivery.body,
            address: Some(delivery.address.0),
        });
        problem
    }
}

/// The transaction with the body as it came, which is the evidence.
fn new_transaction(mapped: MappedTransaction, body: Bytes) -> NewTransaction {
    let MappedTransaction { transaction_id, source_account, destination_account, money } = mapped;
    NewTransaction { transaction_id, source_account, destination_account, money, body }
}

/// A delivery on its way.
struct Delivery<'a> {
    open: &'a OpenSource,
    body: &'a Bytes,
    address: ClientAddress,
}

/// A refusal, for its sender and for operators.
struct Refusal {
    problem: Problem,
    reason: &'static str,
    detail: String,
    is_verified: bool,
}

impl Delivery<'_> {
    fn require_json(&self, headers: &HeaderMap) -> Result<(), Box<Refusal>> {
        require_json(headers).map_err(|problem| Refusal::of(problem, false))
    }

    /// Every failure is answered by the same words; only the log and operators know which one it
    /// was.
    fn verify(&self, headers: &HeaderMap) -> Result<(), Box<Refusal>> {
        let verifier = &self.open.source.verifier;
        let given = |name: &str| once(headers, name);
        verifier.verify(given, self.body, now_unix_secs()).map_err(|error| {
            let problem = Problem::new(Code::InvalidSignature);
            let problem = problem.hint(header::WWW_AUTHENTICATE, verifier.challenge());
            let (reason, detail) = (error.code(), error.to_string());
            Box::new(Refusal { problem, reason, detail, is_verified: false })
        })
    }

    fn map(&self) -> Result<Mapped, Box<Refusal>> {
        let mapped = self.open.source.mapping.read(self.body);
        mapped.map_err(|error| Refusal::of(problem_of(error), true))
    }
}

impl Refusal {
    fn of(problem: Problem, is_verified: bool) -> Box<Self> {
        let (reason, detail) = (problem.code().as_str(), problem.sentence().to_owned());
        Box::new(Self { problem, reason, detail, is_verified })
    }
}

/// A header that must come once, and be text.
fn once(headers: &HeaderMap, name: &str) -> SignatureHeader {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => SignatureHeader::Missing,
        (Some(value), None) => match value.to_str() {
            Ok(value) => SignatureHeader::Once(value.to_owned()),
            Err(_) => SignatureHeader::Once(String::new()),
        },
        (Some(_), Some(_)) => SignatureHeader::Repeated,
    }
}

fn problem_of(error: Unmappable) -> Problem {
    let errors = match error {
        Unmappable::Document(error @ DocumentError::Ambiguous(_)) => {
            return Problem::new(Code::InvalidFields)
                .detail(format!("The body is ambiguous: {error}."));
        }
        Unmappable::Document(error) => {
            return Problem::new(Code::MalformedBody).detail(format!("The body is {error}."));
        }
        Unmappable::Fields(errors) => errors,
    };
    let code = match errors.iter().map(|error| error.fault).max() {
        Some(Fault::Missing) => Code::MissingFields,
        Some(Fault::Invalid) => Code::InvalidFields,
        Some(Fault::Unacceptable) | None => Code::UnacceptableValues,
    };
    let sentence = |error: &MappingError| format!("{} {}", error.pointer, error.detail);
    let detail = errors.iter().map(sentence).collect::<Vec<_>>().join("; ");
    let field = |error: &MappingError| FieldError {
        pointer: format!("#{}", error.pointer),
        code: error.code.to_owned(),
        detail: sentence(error),
    };
    Problem::new(code).detail(format!("{detail}.")).errors(errors.iter().map(field).collect())
}

#[derive(ApiResponse)]
enum Received {
    /// The transaction is stored, now or by an earlier request, and will be settled; or the event
    /// is none of those that the source is there for.
    #[oai(status = 202)]
    Accepted(Json<Acceptance>),
}

/// The refusals of `receive_provider_event`.
#[derive(Debug)]
struct ReceiveProviderEvent;

impl Refusals for ReceiveProviderEvent {
    const CODES: &'static [&'static [Code]] = &[
        json_body::REFUSALS,
        &[
            Code::InvalidSignature,
            Code::SourceNotFound,
            Code::TransactionConflict,
            Code::RateLimited,
            Code::Unavailable,
            Code::Overloaded,
        ],
    ];
}
