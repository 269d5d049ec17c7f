//! Signing in and out.

use poem::web::Data;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Serialize;
use uuid::Uuid;

use super::ApiTags;
use crate::http::edge::caller::{self, Caller, Principal};
use crate::http::edge::client_address::ClientAddress;
use crate::http::edge::password_sign_ins::{PasswordSignIns, SignedIn as SignedInSession};
use crate::http::wire::field_types::{EmailIn, Text};
use crate::http::wire::json_body::{self, JsonBody, json_object};
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, Problem};
use crate::http::wire::refused::{Refusals, Refused};
use crate::identity::passwords::{self, Password};
use crate::identity::{Email, sessions};

/// The API of signing in and out.
#[derive(Clone)]
pub struct AuthApi {
    /// Starts and ends sessions.
    pub sign_ins: PasswordSignIns,
}

#[OpenApi]
impl AuthApi {
    /// Sign a user in
    ///
    /// Gives a token for `Authorization: Bearer` that holds for half an hour, or until the user
    /// signs out, changes the password, or may no longer sign in.
    ///
    /// Attempts are limited per account and address that they come from, and per address: guesses
    /// from elsewhere keep nobody out.
    ///
    /// The answer is the same, and takes as long, whether the address is unknown, the password
    /// wrong, or the user suspended or closed.
    #[oai(
        path = "/v1/auth/login",
        method = "post",
        operation_id = "sign_in",
        tag = "ApiTags::Auth"
    )]
    async fn sign_in(
        &self,
        address: Data<&ClientAddress>,
        body: JsonBody<Login>,
    ) -> Result<SignedIn, Refused<SignIn>> {
        let (email, password) = body.read()?;
        let SignedInSession { session, token } =
            self.sign_ins.start(&address, &email, password).await?;
        let access = Access {
            access_token: token,
            token_type: "Bearer".to_owned(),
            expires_in: sessions::LIFETIME.as_secs(),
            user_id: session.user.0,
        };
        Ok(SignedIn::Ok(Json(access), "no-store".to_owned()))
    }

    /// Sign a user out
    ///
    /// Ends the session that the request's token stands for, on all nodes at once. Other sessions
    /// of the user go on. An API key has no session to end, and is refused.
    #[oai(
        path = "/v1/auth/logout",
        method = "post",
        operation_id = "sign_out",
        tag = "ApiTags::Auth"
    )]
    async fn sign_out(&self, caller: Caller) -> Result<SignedOut, Refused<SignOut>> {
        let Principal::User { session, .. } = caller.principal else {
            return Err(Problem::new(Code::Forbidden).into());
        };
        self.sign_ins.end(session).await?;
        Ok(SignedOut::NoContent)
    }
}

json_object! {
    /// The credentials to sign in with.
    struct Login {
        /// The user's email address; case and space around it do not matter, nor how its accents or
        /// its domain are written.
        email: EmailIn,
        /// The user's password.
        password: Text<{ passwords::MAX_CHARS }>,
    }

    fn value(fields) -> (Email, Password) {
        Some((email?.0, Password::attempt(password?.0)))
    }
}

/// A token, and how to use it.
#[derive(Serialize, Object)]
struct Access {
    /// The token to send as `Authorization: Bearer`. Opaque to clients, whatever it looks like.
    access_token: String,
    /// Always `Bearer`.
    token_type: String,
    /// The seconds for which the token holds.
    expires_in: u64,
    /// The user who has signed in.
    user_id: Uuid,
}

#[derive(ApiResponse)]
enum SignedIn {
    /// The user has signed in.
    #[oai(status = 200)]
    Ok(
        Json<Access>,
        /// Always `no-store`: the answer is a secret.
        #[oai(header = "Cache-Control")]
        String,
    ),
}

#[derive(ApiResponse)]
enum SignedOut {
    /// The session has ended.
    #[oai(status = 204)]
    NoContent,
}

/// The refusals of `sign_in`.
#[derive(Debug)]
struct SignIn;

impl Refusals for SignIn {
    const CODES: &'static [&'static [Code]] = &[
        json_body::REFUSALS,
        &[Code::InvalidCredentials, Code::RateLimited, Code::Unavailable, Code::Overloaded],
    ];
}

/// The refusals of `sign_out`.
#[derive(Debug)]
struct SignOut;

impl Refusals for SignOut {
    const CODES: &'static [&'static [Code]] = &[caller::REFUSALS, &[Code::Forbidden]];
}
