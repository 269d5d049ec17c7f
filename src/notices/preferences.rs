//! Users' wishes for mail. Who has said nothing wants it.

use sqlx::PgConnection;

use crate::ids::UserId;

/// The wishes of a user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Preferences {
    /// True when the user wants mail about outcomes and endpoints.
    pub email_notifications: bool,
}

impl Default for Preferences {
    fn default() -> Self {
        Self { email_notifications: true }
    }
}

/// The wishes of this user, who need not exist.
///
/// # Errors
///
/// When the database refuses.
pub async fn find(conn: &mut PgConnection, user: UserId) -> sqlx::Result<Preferences> {
    let found = sqlx::query_as!(
        Preferences,
        "select email_notifications from notices.preferences where user_id = $1",
        user.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(found.unwrap_or_default())
}

/// Sets the wishes of a user. They count from now on for mails that are still to be sent, too.
///
/// # Errors
///
/// When the database refuses.
pub async fn set(
    conn: &mut PgConnection,
    user: UserId,
    preferences: Preferences,
) -> sqlx::Result<()> {
    sqlx::query!(
        "
        insert into notices.preferences (user_id, email_notifications)
        values ($1, $2)
        on conflict (user_id) do update
        set email_notifications = excluded.email_notifications, updated_at = clock_timestamp()
        ",
        user.0,
        preferences.email_notifications,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Those of these users who want mail, each once, in the order of their ids.
///
/// # Errors
///
/// When the database refuses.
pub async fn recipients(conn: &mut PgConnection, users: &[UserId]) -> sqlx::Result<Vec<UserId>> {
    let ids: Vec<_> = users.iter().map(|user| user.0).collect();
    sqlx::query_scalar!(
        r#"
        select distinct asked.user_id as "user_id!: UserId"
        from unnest($1::uuid[]) as asked (user_id)
        where not exists (
          select from notices.preferences
          where preferences.user_id = asked.user_id and not email_notifications
        )
        order by 1
        "#,
        &ids,
    )
    .fetch_all(conn)
    .await
}
