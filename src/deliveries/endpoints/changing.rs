//! Making, changing and deleting endpoints.

use std::time::Duration;

use sqlx::PgConnection;

use super::{DisabledReason, Settings};
use crate::ids::{EndpointId, UserId};

/// Makes an endpoint with this secret, in plain or sealed.
///
/// # Errors
///
/// When the database refuses.
pub async fn create(
    conn: &mut PgConnection,
    id: EndpointId,
    owner: Option<UserId>,
    settings: &Settings,
    secret: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "
        insert into deliveries.endpoints (
          id, owner_id, url, description, event_types, metadata, headers, timeout_ms, rate, ordered,
          signing_key, public_key
        ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ",
        id.0,
        owner.map(|user| user.0),
        settings.url,
        settings.description,
        settings.event_types.as_deref(),
        settings.metadata,
        settings.headers,
        timeout_ms(settings),
        settings.rate,
        settings.ordered,
        settings.signing_key,
        settings.public_key,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("insert into deliveries.health (endpoint_id) values ($1)", id.0)
        .execute(&mut *conn)
        .await?;
    add_secret(conn, id, secret).await
}

/// Changes the settings of an endpoint.
///
/// # Errors
///
/// When the database refuses.
pub async fn update(
    conn: &mut PgConnection,
    id: EndpointId,
    settings: &Settings,
) -> sqlx::Result<()> {
    sqlx::query!(
        "
        update deliveries.endpoints
        set
          url = $2, description = $3, event_types = $4, metadata = $5, headers = $6,
          timeout_ms = $7, rate = $8, ordered = $9, signing_key = $10, public_key = $11,
          version = version + 1, updated_at = clock_timestamp()
        where id = $1
        ",
        id.0,
        settings.url,
        settings.description,
        settings.event_types.as_deref(),
        settings.metadata,
        settings.headers,
        timeout_ms(settings),
        settings.rate,
        settings.ordered,
        settings.signing_key,
        settings.public_key,
    )
    .execute(conn)
    .await?;
    Ok(())
}

fn timeout_ms(settings: &Settings) -> i32 {
    i32::try_from(settings.timeout.as_millis()).unwrap_or(i32::MAX)
}

/// Sends nothing more to an endpoint, for this reason. Says whether that is a change.
///
/// # Errors
///
/// When the database refuses.
pub async fn disable(
    conn: &mut PgConnection,
    id: EndpointId,
    reason: DisabledReason,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "
        update deliveries.endpoints
        set
          disabled_at = clock_timestamp(), disabled_reason = $2, version = version + 1,
          updated_at = clock_timestamp()
        where id = $1 and disabled_at is null and deleted_at is null
        ",
        id.0,
        reason.code(),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Sends to an endpoint again, as if it had never failed. Says whether that is a change.
///
/// # Errors
///
/// When the database refuses.
pub async fn enable(conn: &mut PgConnection, id: EndpointId) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "
        update deliveries.endpoints
        set
          disabled_at = null, disabled_reason = null, version = version + 1,
          updated_at = clock_timestamp()
        where id = $1 and disabled_at is not null and deleted_at is null
        ",
        id.0,
    )
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!(
        "
        update deliveries.health set failures = 0, failing_since = null, open_until = null
        where endpoint_id = $1
        ",
        id.0,
    )
    .execute(conn)
    .await?;
    Ok(true)
}

/// Deletes an endpoint. What was delivered to it stays on record.
///
/// # Errors
///
/// When the database refuses.
pub async fn delete(conn: &mut PgConnection, id: EndpointId) -> sqlx::Result<()> {
    sqlx::query!(
        "
        update deliveries.endpoints
        set deleted_at = clock_timestamp(), version = version + 1, updated_at = clock_timestamp(),
          headers = '{}', signing_key = null, public_key = null
        where id = $1 and deleted_at is null
        ",
        id.0,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("delete from deliveries.secrets where endpoint_id = $1", id.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// Makes this the current secret, in plain or sealed. The one before goes on to sign beside it for
/// so long.
///
/// # Errors
///
/// When the database refuses.
pub async fn rotate_secret(
    conn: &mut PgConnection,
    id: EndpointId,
    secret: &str,
    overlap: Duration,
) -> sqlx::Result<()> {
    sqlx::query!(
        "
        update deliveries.secrets
        set expires_at = clock_timestamp() + make_interval(secs => $2)
        where endpoint_id = $1 and expires_at is null
        ",
        id.0,
        overlap.as_secs_f64(),
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "
        delete from deliveries.secrets
        where endpoint_id = $1
          and (
            expires_at <= clock_timestamp()
            or number <= (
              select number from deliveries.secrets
              where endpoint_id = $1
              order by number desc
              offset 5 limit 1
            )
          )
        ",
        id.0,
    )
    .execute(&mut *conn)
    .await?;
    add_secret(conn, id, secret).await
}

async fn add_secret(conn: &mut PgConnection, id: EndpointId, secret: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into deliveries.secrets (endpoint_id, secret) values ($1, $2)",
        id.0,
        secret,
    )
    .execute(conn)
    .await?;
    Ok(())
}
