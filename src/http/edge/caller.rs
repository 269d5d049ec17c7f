//! Who calls: the extractor that an operation takes to be for known callers only.
//!
//! It authenticates, and then asks the rate limiter: in this order, so that strangers cannot use up
//! somebody's quota, and in one place, so that no operation can forget either. That every operation
//! has a rule for every kind of caller is tested from the document (`tests/it/identity/matrix.rs`).

use poem::http::{HeaderMap, header};
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::rate_limits::{LimitClass, RateLimits};
use super::sign_ins::SignIns;
use crate::http::wire::problem::{Code, Problem};
use crate::identity::Role;
use crate::identity::api_keys::{ApiKeySecret, SECRET_PREFIX};
use crate::identity::credentials::{Credential, Known};
use crate::identity::tokens::{TokenError, Unverified};
use crate::ids::{ApiKeyId, SessionId, UserId};
use crate::operations::Identity;

/// What a caller is called in the document.
const SECURITY_SCHEME: &str = "bearer";

/// What an operation that takes a [`Caller`] can answer besides.
pub const REFUSALS: &[Code] =
    &[Code::Unauthenticated, Code::RateLimited, Code::Unavailable, Code::Overloaded];

/// A caller whose credential holds right now, and who has not asked too often.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// What the caller signed in with.
    pub principal: Principal,
    /// What the caller may do, as of now.
    pub role: Role,
    /// Whose wallets the caller owns, if anybody's.
    pub user: Option<UserId>,
}

/// What a caller signed in with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Principal {
    /// A person, by the token of a session.
    User {
        /// The user.
        user: UserId,
        /// The session.
        session: SessionId,
    },
    /// A machine, by a key.
    ApiKey(ApiKeyId),
}

impl Caller {
    /// Whose quota and whose idempotency keys these are: `user:<uuid>` or `key:<uuid>`.
    pub fn subject(&self) -> String {
        match self.principal {
            Principal::User { user, .. } => format!("user:{user}"),
            Principal::ApiKey(key) => format!("key:{key}"),
        }
    }

    /// The user whose money the caller may move.
    ///
    /// # Errors
    ///
    /// [`Code::Forbidden`] for a key that acts for nobody.
    pub fn owner(&self) -> Result<UserId, Problem> {
        self.user.ok_or_else(|| Problem::new(Code::Forbidden))
    }

    /// Passes callers who may read everything.
    ///
    /// # Errors
    ///
    /// [`Code::Forbidden`].
    pub fn require_operator(&self) -> Result<(), Problem> {
        self.require(Role::Operator)
    }

    /// Passes callers who may change roles and statuses.
    ///
    /// # Errors
    ///
    /// [`Code::Forbidden`].
    pub fn require_admin(&self) -> Result<(), Problem> {
        self.require(Role::Admin)
    }

    fn require(&self, role: Role) -> Result<(), Problem> {
        match self.role >= role {
            true => Ok(()),
            false => Err(Problem::new(Code::Forbidden)),
        }
    }

    /// Whether the caller may read what belongs to this user. Who may not is to be answered as if
    /// it did not exist.
    pub fn may_read(&self, owner: UserId) -> bool {
        self.user == Some(owner) || self.role >= Role::Operator
    }
}

impl From<Caller> for Identity {
    fn from(caller: Caller) -> Self {
        match caller.principal {
            Principal::User { user, .. } => Self::user(user),
            Principal::ApiKey(key) => Self::api_key(key),
        }
    }
}

/// Who sends these headers.
///
/// # Errors
///
/// [`Code::Unauthenticated`] for every reason alike; which it was is only in our log.
async fn authenticate(sign_ins: &SignIns, headers: &HeaderMap) -> Result<Caller, Problem> {
    let authenticated = match bearer(headers) {
        Ok(secret) if secret.starts_with(SECRET_PREFIX) => by_api_key(sign_ins, secret).await,
        Ok(token) => by_token(sign_ins, token).await,
        Err(stranger) => Err(stranger),
    };
    authenticated.map_err(|stranger| match stranger {
        Stranger::Unanswered(problem) => problem,
        Stranger::Unknown(reason) => {
            tracing::debug!("not authenticated: {reason:#}");
            Problem::new(Code::Unauthenticated)
        }
    })
}

async fn by_token(sign_ins: &SignIns, token: &str) -> Result<Caller, Stranger> {
    let token = Unverified::read(token)?;
    match sign_ins.find(Credential::Session(token.session())).await? {
        Some(Known::Session(session)) => {
            token.verify(&session)?;
            let principal = Principal::User { user: session.user, session: session.id };
            Ok(Caller { principal, role: session.role, user: Some(session.user) })
        }
        Some(Known::ApiKey(_)) | None => Err(Stranger::because("the session does not hold")),
    }
}

async fn by_api_key(sign_ins: &SignIns, secret: &str) -> Result<Caller, Stranger> {
    let secret = ApiKeySecret::parse(secret)
        .ok_or_else(|| Stranger::because("that is no secret of an API key"))?;
    match sign_ins.find(Credential::ApiKey(secret.hash())).await? {
        Some(Known::ApiKey(key)) => {
            Ok(Caller { principal: Principal::ApiKey(key.id), role: key.role, user: key.user })
        }
        Some(Known::Session(_)) | None => Err(Stranger::because("the API key does not hold")),
    }
}

/// The credentials of a request that has one `Authorization: Bearer`.
fn bearer(headers: &HeaderMap) -> Result<&str, Stranger> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (Some(value), None) => value,
        (None, _) => return Err(Stranger::because("there is no Authorization")),
        (Some(_), Some(_)) => {
            return Err(Stranger::because("there is more than one Authorization"));
        }
    };
    let (scheme, credentials) = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .ok_or_else(|| Stranger::because("the Authorization cannot be read"))?;
    match scheme.eq_ignore_ascii_case("bearer") {
        true => Ok(credentials.trim_matches(' ')),
        false => Err(Stranger::because("the scheme of the Authorization is not Bearer")),
    }
}

/// Why a caller is not known.
enum Stranger {
    /// For this reason, of which the caller learns nothing.
    Unknown(anyhow::Error),
    /// The database could not be asked.
    Unanswered(Problem),
}

impl Stranger {
    fn because(reason: &'static str) -> Self {
        Self::Unknown(anyhow::Error::msg(reason))
    }
}

impl From<TokenError> for Stranger {
    fn from(error: TokenError) -> Self {
        Self::Unknown(error.into())
    }
}

impl From<Problem> for Stranger {
    fn from(problem: Problem) -> Self {
        Self::Unanswered(problem)
    }
}

impl<'a> ApiExtractor<'a> for Caller {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.create_security_scheme(
            SECURITY_SCHEME,
            MetaSecurityScheme {
                ty: "http",
                description: Some(
                    "`Authorization: Bearer` with the `access_token` of a sign-in, or with an API \
                     key.",
                ),
                name: None,
                key_in: None,
                scheme: Some("bearer"),
                bearer_format: Some("JWT or API key"),
                flows: None,
                openid_connect_url: None,
            },
        );
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![SECURITY_SCHEME]
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let sign_ins = request.data::<SignIns>().expect("the endpoint has one");
        let caller = authenticate(sign_ins, request.headers()).await?;
        let rate_limits = request.data::<RateLimits>().expect("the endpoint has them");
        let class = LimitClass::of(request.method(), request.uri().path());
        rate_limits.admit(class, &caller.subject()).await?;
        Ok(caller)
    }
}

/// Who may read the transactions that providers sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum TransactionReaders {
    /// Whoever can reach the port.
    Anybody,
    /// Operators and admins.
    Operators,
}

/// Somebody who may read the transactions that providers sent, by the setting.
#[derive(Clone, Copy, Debug)]
pub struct TransactionReader;

impl<'a> ApiExtractor<'a> for TransactionReader {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::PoemExtractor];

    type ParamType = ();
    type ParamRawType = ();

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let readers = request.data::<TransactionReaders>().expect("the endpoint has them");
        match readers {
            TransactionReaders::Anybody => {}
            TransactionReaders::Operators => {
                Caller::from_request(request, body, options).await?.require_operator()?;
            }
        }
        Ok(Self)
    }
}
