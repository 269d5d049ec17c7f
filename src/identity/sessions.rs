//! Sessions: sign-ins of users.

use std::time::Duration;

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::passwords::PasswordHash;
use super::signing_keys::SigningKey;
use super::{IdentityError, interval};
use crate::ids::{SessionId, UserId};

/// The duration of a session, for which a stolen token may be used that nobody notices.
pub const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// A sign-in of a user's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Session {
    /// The session.
    pub id: SessionId,
    /// The user who signed in.
    pub user: UserId,
    /// The moment since which the session holds, in whole seconds, by the database's clock.
    pub created_at: OffsetDateTime,
    /// The moment from which the session no longer holds.
    pub expires_at: OffsetDateTime,
}

/// Makes a session of a user who may sign in and still has the password that was compared; none
/// otherwise.
///
/// # Errors
///
/// When the database refuses.
pub async fn start(
    conn: &mut PgConnection,
    user: UserId,
    compared: &PasswordHash,
    key: &SigningKey,
) -> Result<Option<Session>, IdentityError> {
    // The user is locked against changes: a change of the password or the status either comes
    // first, and is seen here, or waits, and then finds this session to end.
    let session = sqlx::query_as!(
        Session,
        r#"
        with account as materialized (
          select id, date_trunc('second', clock_timestamp()) as now
          from identity.users
          where id = $2 and password_hash = $3 and status = 'active'
          for share
        )
        insert into identity.sessions (id, user_id, signing_key, created_at, expires_at)
        select $1, account.id, $4, account.now, account.now + $5::interval
        from account
        returning id as "id: SessionId", user_id as "user: UserId", created_at, expires_at
        "#,
        Uuid::now_v7(),
        user.0,
        compared.as_str(),
        key.number,
        interval(LIFETIME),
    )
    .fetch_optional(&mut *conn)
    .await?;
    // So that the table does not grow for ever; whoever else is at it cleans up as well.
    sqlx::query!(
        "
        delete from identity.sessions
        where id in (
          select id from identity.sessions
          where user_id = $1 and expires_at <= clock_timestamp()
          for update skip locked
        )
        ",
        user.0,
    )
    .execute(conn)
    .await?;
    Ok(session)
}

/// Ends one session; one that has ended stays so.
///
/// # Errors
///
/// When the database refuses.
pub async fn end(conn: &mut PgConnection, session: SessionId) -> Result<(), IdentityError> {
    sqlx::query!(
        "
        update identity.sessions
        set ended_at = clock_timestamp()
        where id = $1 and ended_at is null
        ",
        session.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends all sessions of a user. The caller has changed the user in the same transaction, which
/// keeps new ones out.
pub(super) async fn end_all(conn: &mut PgConnection, user: UserId) -> Result<(), IdentityError> {
    sqlx::query!(
        "
        update identity.sessions
        set ended_at = clock_timestamp()
        where user_id = $1 and ended_at is null
        ",
        user.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}
