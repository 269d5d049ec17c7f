//! Users' wishes for mail, as they themselves and operators change them.

use sqlx::{Connection as _, PgConnection};

pub use crate::notices::preferences::Preferences;

use super::Identity;
use super::users::UsersError;
use crate::identity::users;
use crate::ids::UserId;
use crate::notices::preferences;
use crate::queue::commits::commit;

/// The wishes of a user.
///
/// # Errors
///
/// [`UsersError::NotFound`], or when the database refuses.
pub async fn find(conn: &mut PgConnection, user: UserId) -> Result<Preferences, UsersError> {
    users::find(conn, user).await?.ok_or(UsersError::NotFound)?;
    Ok(preferences::find(conn, user).await?)
}

/// Changes the wishes of a user. Mails that are still to be sent go by it, too.
///
/// # Errors
///
/// [`UsersError::NotFound`], or when the database refuses.
pub async fn change(
    conn: &mut PgConnection,
    user: UserId,
    wanted: Preferences,
    by: &Identity,
) -> Result<Preferences, UsersError> {
    let mut tx = conn.begin().await?;
    users::find(&mut tx, user).await?.ok_or(UsersError::NotFound)?;
    preferences::set(&mut tx, user, wanted).await?;
    commit(tx).await?;
    let by = by.as_str();
    let mail = if wanted.email_notifications { "on" } else { "off" };
    tracing::info!(%user, mail, by, "mail to user {user} was switched {mail}");
    Ok(wanted)
}
