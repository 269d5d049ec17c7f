//! The catalogue of what can be wrong with a request.

use poem::http::StatusCode;

use super::problem::RETRY_AFTER_SECS;

macro_rules! catalogue {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident = $code:literal, $status:literal, $title:literal;
    )+) => {
        /// A kind of problem. The code is stable: clients may branch on it.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Code {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Code {
            /// Every code there is.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The stable name of the problem.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// The HTTP status, as a number.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }

            /// The problem in a few words, the same at every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }

            /// The situation in which it happens, for the documentation.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

catalogue! {
    /// The request cannot be understood.
    BadRequest = "bad-request", 400, "Bad request";
    /// The body is not one JSON object in UTF-8.
    MalformedBody = "malformed-body", 400, "Malformed body";
    /// The body lacks fields that it must have.
    MissingFields = "missing-fields", 400, "Missing required fields";
    /// Fields have the wrong type or are not well-formed, appear twice, or do not exist.
    InvalidFields = "invalid-fields", 400, "Invalid fields";
    /// The operation needs an Idempotency-Key header: choose a key per request, such as a UUID, and
    /// send the same one when the request is sent again.
    IdempotencyKeyMissing = "idempotency-key-missing", 400, "Idempotency-Key missing";
    /// The Idempotency-Key is not one header of 1 to 255 visible ASCII characters.
    InvalidIdempotencyKey = "invalid-idempotency-key", 400, "Invalid Idempotency-Key";
    /// The If-Match header is not one ETag of ours.
    InvalidIfMatch = "invalid-if-match", 400, "Invalid If-Match";
    /// A query or path parameter is not well-formed, appears twice, or does not exist.
    InvalidParameter = "invalid-parameter", 400, "Invalid parameter";
    /// The cursor was not made by this list with these filters.
    InvalidCursor = "invalid-cursor", 400, "Invalid cursor";
    /// The request is not signed by a known secret, or its timestamp is more than five minutes off.
    InvalidSignature = "invalid-signature", 401, "Invalid signature";
    /// The request does not show who sends it, or what it shows does not hold (any longer).
    Unauthenticated = "unauthenticated", 401, "Not authenticated";
    /// The email address, the password, or both are wrong, or the user may not sign in.
    InvalidCredentials = "invalid-credentials", 401, "Invalid credentials";
    /// The caller is known, but may not do this.
    Forbidden = "forbidden", 403, "Forbidden";
    /// This server is not set to be called from that site (`Origin`).
    OriginNotAllowed = "origin-not-allowed", 403, "Origin not allowed";
    /// This server has no webhook secret, so it answers programs of its own machine only, and the
    /// request names another `Host` or came through a proxy. Set a secret to be reached from
    /// elsewhere.
    NotLocal = "not-local", 403, "Not a local request";
    /// There is nothing at this path.
    NotFound = "not-found", 404, "Not found";
    /// No transaction has this id.
    TransactionNotFound = "transaction-not-found", 404, "Transaction not found";
    /// The audit log has no entry about it that is sealed under that head: ask again in a few
    /// seconds, or for the newest head.
    NotSealed = "not-sealed", 404, "Not sealed yet";
    /// You have no wallet with this id; or, as the destination of a transfer, nobody has.
    WalletNotFound = "wallet-not-found", 404, "Wallet not found";
    /// You have no part in a deposit, withdrawal or transfer with this id.
    OrderNotFound = "order-not-found", 404, "Order not found";
    /// There is no job with this number; or it is so long ago that it is no longer kept.
    JobNotFound = "job-not-found", 404, "Job not found";
    /// There is no queue of this name: it has no unfinished jobs, no pause and no limits.
    QueueNotFound = "queue-not-found", 404, "Queue not found";
    /// Nothing of this key is blocked in this queue.
    KeyNotBlocked = "key-not-blocked", 404, "Key not blocked";
    /// There is no schedule of this name.
    ScheduleNotFound = "schedule-not-found", 404, "Schedule not found";
    /// No worker of this number was seen within the last day.
    WorkerNotFound = "worker-not-found", 404, "Worker not found";
    /// There is no verification with this number; or it is no longer kept.
    VerificationNotFound = "verification-not-found", 404, "Verification not found";
    /// No job with this number was given up; or it is so long ago that it is no longer kept.
    DeadLetterNotFound = "dead-letter-not-found", 404, "Dead letter not found";
    /// No job failed so any more.
    FailureNotFound = "failure-not-found", 404, "Failure not found";
    /// There is no bulk operation with this number.
    OperationNotFound = "operation-not-found", 404, "Operation not found";
    /// No source of webhooks has this name.
    SourceNotFound = "source-not-found", 404, "Source not found";
    /// There is no conflict with this number.
    ConflictNotFound = "conflict-not-found", 404, "Conflict not found";
    /// You have no webhook endpoint with this id.
    EndpointNotFound = "endpoint-not-found", 404, "Endpoint not found";
    /// The event was not for this endpoint, or there is no such event or replay.
    DeliveryNotFound = "delivery-not-found", 404, "Delivery not found";
    /// No user that the caller may see has this id.
    UserNotFound = "user-not-found", 404, "User not found";
    /// The path does not know this method; the Allow header lists those it knows.
    MethodNotAllowed = "method-not-allowed", 405, "Method not allowed";
    /// The body did not arrive in time.
    RequestTimeout = "request-timeout", 408, "Request timeout";
    /// A transaction with this id but other content was accepted before; it stays as it is.
    TransactionConflict = "transaction-conflict", 409, "Transaction conflict";
    /// A request with this Idempotency-Key is being done at this moment. Send it again for its
    /// answer.
    IdempotencyKeyInUse = "idempotency-key-in-use", 409, "Idempotency-Key in use";
    /// The transfer was refunded before.
    AlreadyRefunded = "already-refunded", 409, "Already refunded";
    /// Only a completed transfer can be refunded.
    NotRefundable = "not-refundable", 409, "Not refundable";
    /// The state of the job, or what it is about, does not allow this. `errors` names the rule.
    JobUnsuitable = "job-unsuitable", 409, "Job unsuitable";
    /// Somebody has paused the schedule before.
    SchedulePaused = "schedule-paused", 409, "Schedule paused";
    /// The schedule is not paused.
    ScheduleNotPaused = "schedule-not-paused", 409, "Schedule not paused";
    /// The worker was not seen for longer than its lease: it is gone, or cut off.
    WorkerLost = "worker-lost", 409, "Worker lost";
    /// Somebody has decided over the dead letter before.
    DeadLetterDecided = "dead-letter-decided", 409, "Dead letter decided";
    /// The order or transaction of the dead letter has its outcome, so running the job again would
    /// do nothing.
    NothingToRedrive = "nothing-to-redrive", 409, "Nothing to redrive";
    /// No job would be changed: a dry run says why.
    NothingEligible = "nothing-eligible", 409, "Nothing eligible";
    /// As many bulk operations as there may be are not finished yet.
    TooManyOperations = "too-many-operations", 409, "Too many operations";
    /// The bulk operation is completed or cancelled.
    OperationFinished = "operation-finished", 409, "Operation finished";
    /// Somebody has decided over the conflict before.
    ConflictResolved = "conflict-resolved", 409, "Conflict resolved";
    /// The ledger cannot be corrected by this conflict, or not yet: the transaction has no outcome,
    /// or another conflict of it was corrected.
    NotCorrectable = "not-correctable", 409, "Not correctable";
    /// You have as many webhook endpoints as you may.
    TooManyEndpoints = "too-many-endpoints", 409, "Too many endpoints";
    /// The endpoint is disabled, so nothing can be sent to it. Enable it first.
    EndpointDisabled = "endpoint-disabled", 409, "Endpoint disabled";
    /// The delivery is on its way already.
    DeliveryPending = "delivery-pending", 409, "Delivery pending";
    /// The wallet is not empty, so it cannot be closed.
    WalletNotEmpty = "wallet-not-empty", 409, "Wallet not empty";
    /// Another user has this email address.
    EmailTaken = "email-taken", 409, "Email address taken";
    /// The user is the last active admin: whoever changes that could lock everybody out.
    LastAdmin = "last-admin", 409, "Last admin";
    /// The user has money, or orders without an outcome, so they cannot be closed.
    UserNotSettled = "user-not-settled", 409, "User not settled";
    /// It has changed since the version that If-Match names.
    PreconditionFailed = "precondition-failed", 412, "Precondition failed";
    /// The body is larger than this server accepts.
    BodyTooLarge = "body-too-large", 413, "Body too large";
    /// The path and the query are longer than this server reads.
    UriTooLong = "uri-too-long", 414, "URI too long";
    /// The body is not application/json in UTF-8, or it is compressed.
    UnsupportedMediaType = "unsupported-media-type", 415, "Unsupported media type";
    /// The body is well-formed, but values in it are not acceptable.
    UnacceptableValues = "unacceptable-values", 422, "Unacceptable values";
    /// The Idempotency-Key was used for another request. Choose a new key.
    IdempotencyKeyReused = "idempotency-key-reused", 422, "Idempotency-Key reused";
    /// Less is available in the wallet than the request would take.
    InsufficientFunds = "insufficient-funds", 422, "Insufficient funds";
    /// A wallet of the request holds another currency.
    CurrencyMismatch = "currency-mismatch", 422, "Currency mismatch";
    /// Money cannot go from a wallet to itself.
    SameWallet = "same-wallet", 422, "Same wallet";
    /// A wallet of the request is closed.
    WalletClosed = "wallet-closed", 422, "Wallet closed";
    /// More requests than the limit allows. The same request may be sent again after `Retry-After`.
    RateLimited = "rate-limited", 429, "Too many requests";
    /// The headers are longer, or more, than this server reads.
    HeadersTooLarge = "headers-too-large", 431, "Headers too large";
    /// We made a mistake. The request may be sent again.
    InternalError = "internal-error", 500, "Internal error";
    /// The body comes in a Transfer-Encoding other than chunked.
    NotImplemented = "not-implemented", 501, "Not implemented";
    /// The database is away, or it is not known whether it took the request. Sending the same
    /// request again is safe.
    Unavailable = "unavailable", 503, "Temporarily unavailable";
    /// More requests are waiting than can be served. Sending the same request again is safe.
    Overloaded = "overloaded", 503, "Overloaded";
    /// The process is not ready to serve; the body says why.
    NotReady = "not-ready", 503, "Not ready";
}

impl Code {
    pub(super) fn status_code(self) -> StatusCode {
        StatusCode::from_u16(self.status()).expect("the catalogue holds valid statuses")
    }

    /// One sentence for people.
    pub(super) fn message(self) -> &'static str {
        match self {
            // Promised to clients, word by word.
            Self::MissingFields => self.title(),
            other => other.meaning(),
        }
    }

    /// The URI of the problem's type.
    pub fn uri(self) -> String {
        format!("urn:surety:problem:{}", self.as_str())
    }

    /// The scheme by which a request that is answered 401 should have shown its sender.
    pub(super) fn authentication_scheme(self) -> Option<&'static str> {
        match self {
            Self::InvalidSignature => Some("Standard-Webhooks"),
            _ => (self.status() == 401).then_some("Bearer"),
        }
    }

    pub(super) fn retry_after_secs(self) -> Option<u32> {
        match self {
            // The other one holds the key for no longer than one commit.
            Self::IdempotencyKeyInUse => Some(1),
            other => (other.status() == 503).then_some(RETRY_AFTER_SECS),
        }
    }
}
