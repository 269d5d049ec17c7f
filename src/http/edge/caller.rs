//! The caller of an operation: the extractor that makes an operation one for known callers only.
//!
//! It authenticates, and then asks the rate limiter: in this order, so that strangers cannot use up
//! somebody's quota, and in one place, so that no operation can forget either. That every operation
//! has a rule for every kind of caller is tested from the document (`tests/it/identity/matrix.rs`).

use std::net::IpAddr;

use poem::http::{HeaderMap, header};
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::client_address::ClientAddress;
use super::rate_limits::{LimitClass, RateLimits};
use super::sign_ins::SignIns;
use crate::http::wire::problem::{Code, Problem};
use crate::http::wire::request_id::RequestId;
pub use crate::identity::Right;
use crate::identity::Role;
use crate::identity::api_keys::{ApiKeySecret, SECRET_PREFIX};
use crate::identity::credentials::{Credential, KnownCaller};
use crate::identity::tokens::{TokenError, Unverified};
use crate::ids::{ApiKeyId, SessionId, UserId};
use crate::operations::Identity;

/// The name of the security scheme in the document.
const SECURITY_SCHEME: &str = "bearer";

/// The challenge to a request whose credential does not hold.
const INVALID_TOKEN: &str = "Bearer error=\"invalid_token\"";

/// The codes that an operation refuses with because it takes a [`Caller`].
pub const REFUSALS: &[Code] =
    &[Code::Unauthenticated, Code::RateLimited, Code::Unavailable, Code::Overloaded];

/// A caller whose credential holds right now, and who has not asked too often.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The identity that the caller signed in with.
    pub principal: Principal,
    /// The caller's role, as of now.
    pub role: Role,
    /// The user whose wallets the caller owns; none for a key that acts for nobody.
    pub user: Option<UserId>,
    /// The address that the request comes from.
    pub address: IpAddr,
}

/// The identity of a caller.
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
    /// The caller whose credential this is: the token of a session, or the secret of an API key.
    /// For those who carry it elsewhere than in `Authorization`; asks no rate limit.
    ///
    /// # Errors
    ///
    /// [`Code::Unauthenticated`] for every reason alike; [`Code::Unavailable`] and
    /// [`Code::Overloaded`] as [`SignIns::find`].
    pub async fn of_credential(
        sign_ins: &SignIns,
        credential: &str,
        address: ClientAddress,
    ) -> Result<Self, Problem> {
        Ok(by_credential(sign_ins, credential, address).await?)
    }

    /// The name of the caller's quota: `user:<uuid>` or `key:<uuid>`.
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

    /// Passes callers with this right.
    ///
    /// # Errors
    ///
    /// [`Code::Forbidden`].
    pub fn require(&self, right: Right) -> Result<(), Problem> {
        match self.role.may(right) {
            true => Ok(()),
            false => Err(Problem::new(Code::Forbidden)
                .detail(format!("This needs the role {}.", right.role().as_str()))),
        }
    }

    /// Tells if the caller may read the data of this user. A caller who may not is answered as if
    /// the data did not exist.
    pub fn may_read(&self, owner: UserId) -> bool {
        self.user == Some(owner) || self.role.may(Right::Read)
    }
}

impl From<Caller> for Identity {
    fn from(caller: Caller) -> Self {
        let identity = match caller.principal {
            Principal::User { user, .. } => Self::user(user),
            Principal::ApiKey(key) => Self::api_key(key),
        };
        let request_id = RequestId::current().map(|id| id.as_str().to_owned());
        identity.by_request(caller.address, request_id)
    }
}

/// Identifies the sender of these headers.
///
/// # Errors
///
/// [`Code::Unauthenticated`] for every reason alike; which it was is only in our log.
async fn authenticate(
    sign_ins: &SignIns,
    headers: &HeaderMap,
    address: ClientAddress,
) -> Result<Caller, Problem> {
    match bearer(headers) {
        Ok(credential) => by_credential(sign_ins, credential, address).await,
        Err(stranger) => Err(stranger),
    }
    .map_err(|failure| {
        // RFC 6750, 3.1: only of a credential that was shown is anything said.
        let is_shown = headers.contains_key(header::AUTHORIZATION);
        let is_unknown = matches!(failure, AuthenticationFailure::Unknown(_));
        match Problem::from(failure) {
            problem if is_shown && is_unknown => {
                problem.hint(header::WWW_AUTHENTICATE, INVALID_TOKEN)
            }
            problem => problem,
        }
    })
}

async fn by_credential(
    sign_ins: &SignIns,
    credential: &str,
    ClientAddress(address): ClientAddress,
) -> Result<Caller, AuthenticationFailure> {
    match credential.starts_with(SECRET_PREFIX) {
        true => by_api_key(sign_ins, credential, address).await,
        false => by_token(sign_ins, credential, address).await,
    }
}

async fn by_token(
    sign_ins: &SignIns,
    token: &str,
    address: IpAddr,
) -> Result<Caller, AuthenticationFailure> {
    let token = Unverified::read(token)?;
    match sign_ins.find(Credential::Session(token.session())).await? {
        Some(KnownCaller::Session(session)) => {
            token.verify(&session)?;
            let principal = Principal::User { user: session.user, session: session.id };
            Ok(Caller { principal, role: session.role, user: Some(session.user), address })
        }
        Some(KnownCaller::ApiKey(_)) | None => {
            Err(AuthenticationFailure::because("the session does not hold"))
        }
    }
}

async fn by_api_key(
    sign_ins: &SignIns,
    secret: &str,
    address: IpAddr,
) -> Result<Caller, AuthenticationFailure> {
    let secret = ApiKeySecret::parse(secret)
        .ok_or_else(|| AuthenticationFailure::because("that is no secret of an API key"))?;
    match sign_ins.find(Credential::ApiKey(secret.hash())).await? {
        Some(KnownCaller::ApiKey(key)) => {
            let principal = Principal::ApiKey(key.id);
            Ok(Caller { principal, role: key.role, user: key.user, address })
        }
        Some(KnownCaller::Session(_)) | None => {
            Err(AuthenticationFailure::because("the API key does not hold"))
        }
    }
}

/// The credentials of a request that has one `Authorization: Bearer`.
fn bearer(headers: &HeaderMap) -> Result<&str, AuthenticationFailure> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (Some(value), None) => value,
        (None, _) => return Err(AuthenticationFailure::because("there is no Authorization")),
        (Some(_), Some(_)) => {
            return Err(AuthenticationFailure::because("there is more than one Authorization"));
        }
    };
    let (scheme, credentials) = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .ok_or_else(|| AuthenticationFailure::because("the Authorization cannot be read"))?;
    match scheme.eq_ignore_ascii_case("bearer") {
        true => Ok(credentials.trim_matches(' ')),
        false => {
            Err(AuthenticationFailure::because("the scheme of the Authorization is not Bearer"))
        }
    }
}

/// The reason that a caller is not known.
enum AuthenticationFailure {
    /// The credential does not hold; the reason is for the log and never for the caller.
    Unknown(anyhow::Error),
    /// The database could not be asked.
    Unanswered(Problem),
}

impl AuthenticationFailure {
    fn because(reason: &'static str) -> Self {
        Self::Unknown(anyhow::Error::msg(reason))
    }
}

impl From<AuthenticationFailure> for Problem {
    fn from(failure: AuthenticationFailure) -> Self {
        match failure {
            AuthenticationFailure::Unanswered(problem) => problem,
            AuthenticationFailure::Unknown(reason) => {
                tracing::debug!("not authenticated: {reason:#}");
                Problem::new(Code::Unauthenticated)
            }
        }
    }
}

impl From<TokenError> for AuthenticationFailure {
    fn from(error: TokenError) -> Self {
        Self::Unknown(error.into())
    }
}

impl From<Problem> for AuthenticationFailure {
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
        let address = request.data::<ClientAddress>().expect("the endpoint has one");
        let caller = authenticate(sign_ins, request.headers(), *address).await?;
        let rate_limits = request.data::<RateLimits>().expect("the endpoint has them");
        let class = LimitClass::of(request.method(), request.uri().path());
        rate_limits.admit(class, &caller.subject()).await?;
        Ok(caller)
    }
}

/// The callers who may read the transactions that providers sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum TransactionReaders {
    /// Anybody who can reach the port.
    Anybody,
    /// Viewers, operators and admins.
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
                Caller::from_request(request, body, options).await?.require(Right::Read)?;
            }
        }
        Ok(Self)
    }
}
