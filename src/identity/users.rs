//! Users: people, each with one email address.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::passwords::PasswordHash;
use super::{Email, IdentityError, Role, UserStatus, sessions};
use crate::ids::{UserId, new_by_database_clock};
use crate::money::Currency;

/// A user as stored; without the hash of the password, so that it cannot be shown by mistake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// The user.
    pub id: UserId,
    /// The address that the user signs in with.
    pub email: String,
    /// The role of the user.
    pub role: Role,
    /// The status of the user.
    pub status: UserStatus,
    /// The code of the currency of the user's first wallet.
    pub default_currency: String,
    /// The moment at which the user was made.
    pub created_at: OffsetDateTime,
    /// The moment of the last change, the password included.
    pub updated_at: OffsetDateTime,
}

/// A user to be made.
#[derive(Debug)]
pub struct NewUser {
    /// The address to sign in with.
    pub email: Email,
    /// The password's hash.
    pub password_hash: PasswordHash,
    /// The role of the user.
    pub role: Role,
    /// The currency of the first wallet.
    pub currency: Currency,
}

/// Makes an active user.
///
/// # Errors
///
/// [`IdentityError::EmailTaken`], or when the database refuses.
pub async fn create(conn: &mut PgConnection, new: &NewUser) -> Result<User, IdentityError> {
    let id = new_by_database_clock(&mut *conn).await?;
    let user = sqlx::query_as!(
        User,
        r#"
        insert into identity.users (id, email, password_hash, role, default_currency)
        values ($1, $2, $3, $4, $5)
        returning
          id as "id: UserId", email, role as "role: Role", status as "status: UserStatus",
          default_currency, created_at, updated_at
        "#,
        id,
        new.email.as_str(),
        new.password_hash.as_str(),
        new.role as Role,
        new.currency.code(),
    )
    .fetch_one(conn)
    .await?;
    Ok(user)
}

/// The user with this id.
///
/// # Errors
///
/// When the database refuses.
pub async fn find(conn: &mut PgConnection, id: UserId) -> Result<Option<User>, IdentityError> {
    let user = sqlx::query_as!(
        User,
        r#"
        select
          id as "id: UserId", email, role as "role: Role", status as "status: UserStatus",
          default_currency, created_at, updated_at
        from identity.users
        where id = $1
        "#,
        id.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(user)
}

/// The user with this address.
///
/// # Errors
///
/// When the database refuses.
pub async fn find_by_email(
    conn: &mut PgConnection,
    email: &Email,
) -> Result<Option<User>, IdentityError> {
    let user = sqlx::query_as!(
        User,
        r#"
        select
          id as "id: UserId", email, role as "role: Role", status as "status: UserStatus",
          default_currency, created_at, updated_at
        from identity.users
        where email = $1
        "#,
        email.as_str(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(user)
}

/// The filter of a list of users; every part that is set must match.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// The status.
    pub status: Option<UserStatus>,
    /// The role.
    pub role: Option<Role>,
    /// The email address.
    pub email: Option<Email>,
}

/// At most `limit` users, newest first, beginning after the user `before`.
///
/// # Errors
///
/// When the database refuses.
pub async fn list(
    conn: &mut PgConnection,
    filter: &Filter,
    before: Option<UserId>,
    limit: u16,
) -> Result<Vec<User>, IdentityError> {
    let users = sqlx::query_as!(
        User,
        r#"
        select
          id as "id: UserId", email, role as "role: Role", status as "status: UserStatus",
          default_currency, created_at, updated_at
        from identity.users
        where ($1::uuid is null or id < $1)
          and ($2::identity.user_status is null or status = $2)
          and ($3::identity.role is null or role = $3)
          and ($4::text is null or email = $4)
        order by id desc
        limit $5
        "#,
        before.map(|it| it.0),
        filter.status as Option<UserStatus>,
        filter.role as Option<Role>,
        filter.email.as_ref().map(Email::as_str),
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    Ok(users)
}

/// The stored hash that a new password is compared with.
#[derive(Clone, Debug)]
pub struct StoredPassword {
    /// The hash of the present one.
    pub hash: PasswordHash,
    /// The address that a password must not be made of.
    pub email: String,
}

/// The present password of a user.
///
/// # Errors
///
/// When the database refuses.
pub async fn find_password(
    conn: &mut PgConnection,
    id: UserId,
) -> Result<Option<StoredPassword>, IdentityError> {
    let row = sqlx::query!("select password_hash, email from identity.users where id = $1", id.0)
        .fetch_optional(conn)
        .await?;
    Ok(row.map(|row| StoredPassword { hash: PasswordHash(row.password_hash), email: row.email }))
}

/// Whom a sign-in may be for: whether the user may sign in at all is only decided when the session
/// is made.
#[derive(Clone, Debug)]
pub struct SignInCandidate {
    /// The user with the address.
    pub id: UserId,
    /// The hash to compare the password with.
    pub password_hash: PasswordHash,
}

/// Reads the user with this address, to compare a password with.
///
/// # Errors
///
/// When the database refuses.
pub async fn find_sign_in_candidate(
    conn: &mut PgConnection,
    email: &Email,
) -> Result<Option<SignInCandidate>, IdentityError> {
    let row = sqlx::query!(
        r#"select id as "id: UserId", password_hash from identity.users where email = $1"#,
        email.as_str(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(row
        .map(|row| SignInCandidate { id: row.id, password_hash: PasswordHash(row.password_hash) }))
}

/// The result of a change that nobody else may have made meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PasswordChange {
    /// The new password is set, and all sessions of the user have ended.
    Changed,
    /// The user is gone, or the password is no longer the one that was compared.
    ChangedMeanwhile,
}

/// Sets another password and ends all sessions, unless the password changed since `before` was
/// read.
///
/// # Errors
///
/// When the database refuses.
pub async fn change_password(
    conn: &mut PgConnection,
    id: UserId,
    before: &PasswordHash,
    after: &PasswordHash,
) -> Result<PasswordChange, IdentityError> {
    let changed = sqlx::query!(
        "
        update identity.users
        set password_hash = $3, updated_at = clock_timestamp()
        where id = $1 and password_hash = $2
        ",
        id.0,
        before.as_str(),
        after.as_str(),
    )
    .execute(&mut *conn)
    .await?;
    if changed.rows_affected() == 0 {
        return Ok(PasswordChange::ChangedMeanwhile);
    }
    // After the update, whose lock a sign-in under way holds until its session can be seen here.
    sessions::end_all(conn, id).await?;
    Ok(PasswordChange::Changed)
}

/// Sets another password, whatever the one before was, and ends all sessions; says whether there is
/// such a user. For operators.
///
/// # Errors
///
/// When the database refuses.
pub async fn set_password(
    conn: &mut PgConnection,
    id: UserId,
    after: &PasswordHash,
) -> Result<bool, IdentityError> {
    let changed = sqlx::query!(
        "
        update identity.users
        set password_hash = $2, updated_at = clock_timestamp()
        where id = $1
        ",
        id.0,
        after.as_str(),
    )
    .execute(&mut *conn)
    .await?;
    sessions::end_all(conn, id).await?;
    Ok(changed.rows_affected() == 1)
}

/// The changes of an admin to a user; what is none stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Change {
    /// The role from now on.
    pub role: Option<Role>,
    /// The status from now on. Any but active ends all sessions.
    pub status: Option<UserStatus>,
}

/// The rights of a user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// The role.
    pub role: Role,
    /// The status.
    pub status: UserStatus,
}

/// The result of a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Changed {
    /// The user was changed.
    Yes {
        /// The rights before.
        before: Access,
        /// The user as it is now.
        user: User,
    },
    /// There is no such user.
    NoSuchUser,
    /// The user is the last active admin, whom nobody could let in again.
    LastAdmin,
}

/// Changes the role and the status of a user, but leaves the last active admin one.
///
/// # Errors
///
/// When the database refuses.
pub async fn change(
    conn: &mut PgConnection,
    id: UserId,
    change: Change,
) -> Result<Changed, IdentityError> {
    // All admins are locked, in the order of their ids: of two admins who suspend each other at the
    // same time, one waits and then finds that it is the last.
    let admins: Vec<Uuid> = sqlx::query_scalar!(
        "
        select id from identity.users
        where role = 'admin' and status = 'active'
        order by id
        for no key update
        "
    )
    .fetch_all(&mut *conn)
    .await?;
    let stays_admin = change.role.is_none_or(|role| role == Role::Admin)
        && change.status.is_none_or(|status| status == UserStatus::Active);
    if admins == [id.0] && !stays_admin {
        return Ok(Changed::LastAdmin);
    }
    let before = sqlx::query_as!(
        Access,
        r#"
        select role as "role: Role", status as "status: UserStatus"
        from identity.users
        where id = $1
        for no key update
        "#,
        id.0,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(before) = before else { return Ok(Changed::NoSuchUser) };
    let user = sqlx::query_as!(
        User,
        r#"
        update identity.users
        set
          role = coalesce($2, role),
          status = coalesce($3, status),
          updated_at = clock_timestamp()
        where id = $1
        returning
          id as "id: UserId", email, role as "role: Role", status as "status: UserStatus",
          default_currency, created_at, updated_at
        "#,
        id.0,
        change.role as Option<Role>,
        change.status as Option<UserStatus>,
    )
    .fetch_one(&mut *conn)
    .await?;
    if user.status != UserStatus::Active {
        sessions::end_all(conn, id).await?;
    }
    Ok(Changed::Yes { before, user })
}
