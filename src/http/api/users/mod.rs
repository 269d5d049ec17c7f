//! Users: making them, reading them, and what admins and they themselves may change.

mod bodies;
mod refusals;

use poem::http::Uri;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, OpenApi};
use sqlx::PgPool;
use uuid::Uuid;

use self::bodies::{PasswordsIn, RoleName, StatusName, UserChange, UserIn, UserOut, UserPage};
use self::refusals::{ChangePassword, ChangeUser, CreateUser, GetUser, ListUsers};
use super::ApiTags;
use crate::http::edge::caller::{Caller, Principal, Right};
use crate::http::edge::client_address::ClientAddress;
use crate::http::edge::database::{in_transaction, within_seconds};
use crate::http::edge::rate_limits::{LimitClass, RateLimits};
use crate::http::wire::id::Id;
use crate::http::wire::json_body::JsonBody;
use crate::http::wire::lists::{DEFAULT_LIMIT, read_cursor, refuse_unknown_parameters};
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, FieldError, Problem};
use crate::http::wire::refused::Refused;
use crate::identity::users::{PasswordChange, change_password, find_password};
use crate::ids::UserId;
use crate::operations::users::{
    self, Email, Hasher, HasherError, IdentityError, NewUser, Password, Role, UserFilter, UserRef,
    UsersError, WeakPassword,
};

/// The API of users.
#[derive(Clone)]
pub struct UsersApi {
    /// The database of users.
    pub pool: PgPool,
    /// Hashes and compares passwords.
    pub hasher: Hasher,
    /// Knows how often may be tried.
    pub rate_limits: RateLimits,
}

#[OpenApi]
impl UsersApi {
    /// Make a new user
    ///
    /// Open to anybody; the user has the role `user`, a first wallet in `currency`, and may sign in
    /// at once.
    ///
    /// That an address is taken is told, and with it that somebody has an account: without a mail
    /// to confirm the address, the only other answer would be a lie that the next sign-in gives
    /// away. How often one can ask is limited by where the requests come from.
    #[oai(
        path = "/v1/users",
        method = "post",
        operation_id = "create_user",
        tag = "ApiTags::Users"
    )]
    async fn create_user(
        &self,
        address: Data<&ClientAddress>,
        body: JsonBody<UserIn>,
    ) -> Result<Created, Refused<CreateUser>> {
        let (email, password, currency) = body.read()?;
        self.rate_limits.admit(LimitClass::Api, &address.subject()).await?;
        let password_hash = self.hasher.hash(password).await.map_err(Problem::from)?;
        let new = NewUser { email, password_hash, role: Role::User, currency };

        let user =
            within_seconds(&self.pool, async |conn| Ok(users::create(conn, &new, None).await?));
        let user = user.await?;

        let location = format!("/v1/users/{}", user.id);
        Ok(Created::Created(Json(user.into()), location))
    }

    /// Get one user
    ///
    /// Users see themselves; viewers and above see everybody.
    #[oai(
        path = "/v1/users/:user_id",
        method = "get",
        operation_id = "get_user",
        tag = "ApiTags::Users"
    )]
    async fn get_user(
        &self,
        caller: Caller,
        /// The user's id.
        user_id: Path<Id<Uuid>>,
    ) -> Result<Found, Refused<GetUser>> {
        let id = UserId(user_id.0.0);
        let not_found = || Problem::new(Code::UserNotFound);
        if !caller.may_read(id) {
            return Err(not_found().into());
        }
        let user =
            within_seconds(&self.pool, async |conn| Ok(users::find(conn, &UserRef::Id(id)).await?));
        Ok(Found::Ok(Json(user.await?.ok_or_else(not_found)?.into())))
    }

    /// List the users
    ///
    /// Newest first; for viewers and above. A page that is not the last has a `next_cursor`: send
    /// it with the same filters to get the next page.
    #[oai(path = "/v1/users", method = "get", operation_id = "list_users", tag = "ApiTags::Users")]
    #[allow(clippy::too_many_arguments)] // Each is a documented parameter.
    async fn list_users(
        &self,
        caller: Caller,
        uri: &Uri,
        /// Only those in this status.
        status: Query<Option<StatusName>>,
        /// Only those with this role.
        role: Query<Option<RoleName>>,
        /// Only the one with this email address.
        email: Query<Option<String>>,
        /// The most items on a page; 50 when absent.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Listed, Refused<ListUsers>> {
        caller.require(Right::Read)?;
        refuse_unknown_parameters(uri, &LIST_PARAMETERS)?;
        let email = email.0.map(|text| text.parse::<Email>()).transpose();
        let email = email.map_err(|error| Problem::parameter("email", &error.to_string()))?;
        let (status, role) = (status.0.map(Into::into), role.0.map(Into::into));
        let filter = UserFilter { status, role, email };
        let before = cursor.0.map(|text| read_cursor(&text, &list_of(&filter))).transpose()?;
        let before = before.map(|id| UserId(Uuid::from_bytes(id)));
        let limit = limit.0.unwrap_or(DEFAULT_LIMIT);
        // One more than the page holds, to know whether there is another page.
        let found = within_seconds(&self.pool, async |conn| {
            Ok(users::list(conn, &filter, before, limit + 1).await?)
        });
        let found = found.await?;
        Ok(Listed::Ok(Json(UserPage::new(found, limit, &filter))))
    }

    /// Change the password
    ///
    /// Of the user who has signed in, and ends all sessions of that user, this one included. Not
    /// for API keys.
    #[oai(
        path = "/v1/users/:user_id/password",
        method = "put",
        operation_id = "change_password",
        tag = "ApiTags::Users"
    )]
    async fn change_password(
        &self,
        caller: Caller,
        address: Data<&ClientAddress>,
        /// The user's id.
        user_id: Path<Id<Uuid>>,
        body: JsonBody<PasswordsIn>,
    ) -> Result<PasswordChanged, Refused<ChangePassword>> {
        let id = UserId(user_id.0.0);
        if !caller.may_read(id) {
            return Err(Problem::new(Code::UserNotFound).into());
        }
        if !matches!(caller.principal, Principal::User { user, .. } if user == id) {
            return Err(Problem::new(Code::Forbidden).into());
        }
        let (current, new) = body.read()?;
        let guesses = format!("{} {}", caller.subject(), address.subject());
        self.rate_limits.admit(LimitClass::LoginByAccount, &guesses).await?;

        let stored = within_seconds(&self.pool, async |conn| Ok(find_password(conn, id).await?));
        let stored = stored.await?.ok_or_else(|| Problem::new(Code::UserNotFound))?;
        let new = Password::to_set(new, &stored.email).map_err(weak)?;
        if !self.hasher.verify(current, Some(&stored.hash)).await.map_err(Problem::from)? {
            return Err(wrong_password().into());
        }
        let hash = self.hasher.hash(new).await.map_err(Problem::from)?;

        let changed = in_transaction(&self.pool, async |conn| {
            Ok(change_password(conn, id, &stored.hash, &hash).await?)
        });
        match changed.await? {
            PasswordChange::Changed => Ok(PasswordChanged::NoContent),
            PasswordChange::ChangedMeanwhile => Err(wrong_password().into()),
        }
    }

    /// Change the role or the status of a user
    ///
    /// For admins. Takes effect with the user's next request; a user who is no longer active is
    /// signed out everywhere. The last active admin stays one.
    ///
    /// Who is suspended can do nothing, but what was ordered before goes on, and others can pay
    /// them. Who is closed receives nothing: with money in a wallet, or an order without an
    /// outcome, a user cannot be closed.
    #[oai(
        path = "/v1/users/:user_id",
        method = "patch",
        operation_id = "change_user",
        tag = "ApiTags::Users"
    )]
    async fn change_user(
        &self,
        caller: Caller,
        /// The user's id.
        user_id: Path<Id<Uuid>>,
        body: JsonBody<UserChange>,
    ) -> Result<Found, Refused<ChangeUser>> {
        caller.require(Right::Decide)?;
        let (id, change) = (UserId(user_id.0.0), body.read()?);

        let by = caller.into();
        let changed =
            within_seconds(
                &self.pool,
                async |conn| Ok(users::change(conn, id, change, &by).await?),
            );
        Ok(Found::Ok(Json(changed.await?.into())))
    }
}

const LIST_PARAMETERS: [&str; 5] = ["status", "role", "email", "limit", "cursor"];

/// The list that a cursor is bound to.
fn list_of(filter: &UserFilter) -> String {
    let UserFilter { status, role, email } = filter;
    format!("list_users 1 {status:?} {role:?} {email:?}")
}

fn field_problem(field: &str, code: &str, detail: String) -> Problem {
    Problem::new(Code::UnacceptableValues).detail(format!("{detail}.")).errors(vec![FieldError {
        pointer: format!("#/{field}"),
        code: code.to_owned(),
        detail,
    }])
}

fn weak(reason: WeakPassword) -> Problem {
    field_problem("new_password", "unacceptable", format!("new_password {reason}"))
}

fn wrong_password() -> Problem {
    let detail = "current_password is not the present password".to_owned();
    field_problem("current_password", "wrong", detail)
}

impl From<UsersError> for Problem {
    fn from(error: UsersError) -> Self {
        match error {
            UsersError::NotFound => Self::new(Code::UserNotFound),
            UsersError::LastAdmin => Self::new(Code::LastAdmin),
            UsersError::Unsettled(_) => {
                let detail = format!("It cannot be closed: {error}.");
                Self::new(Code::UserNotSettled).detail(detail)
            }
            UsersError::Identity(error) => error.into(),
            UsersError::Wallet(error) => error.into(),
        }
    }
}

impl From<IdentityError> for Problem {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::EmailTaken => Problem::new(Code::EmailTaken),
            IdentityError::Database(error) => error.into(),
        }
    }
}

impl From<HasherError> for Problem {
    fn from(error: HasherError) -> Self {
        match error {
            HasherError::Busy => Problem::new(Code::Overloaded),
            HasherError::Failed(_) => Problem::new(Code::InternalError).cause(error),
        }
    }
}

#[derive(ApiResponse)]
enum Created {
    /// The user is made.
    #[oai(status = 201)]
    Created(
        Json<UserOut>,
        /// The path at which to read it.
        #[oai(header = "Location")]
        String,
    ),
}

#[derive(ApiResponse)]
enum Found {
    /// The user.
    #[oai(status = 200)]
    Ok(Json<UserOut>),
}

#[derive(ApiResponse)]
enum Listed {
    /// The page.
    #[oai(status = 200)]
    Ok(Json<UserPage>),
}

#[derive(ApiResponse)]
enum PasswordChanged {
    /// The new password is set, and all sessions have ended.
    #[oai(status = 204)]
    NoContent,
}
