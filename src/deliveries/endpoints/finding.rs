//! Reading endpoints, within a scope.

use std::time::Duration;

use sqlx::PgConnection;

use super::{Endpoint, Scope, Settings};
use crate::ids::{EndpointId, UserId};

/// The endpoint with this id within the scope, if any; locked against changes until the transaction
/// ends, if `for_update`.
///
/// # Errors
///
/// When the database refuses.
pub async fn find_locked(
    conn: &mut PgConnection,
    scope: Scope,
    id: EndpointId,
) -> sqlx::Result<Option<Endpoint>> {
    let locked = sqlx::query_scalar!(
        "
        select id from deliveries.endpoints
        where id = $1 and deleted_at is null and ($2::uuid is null or owner_id = $2)
        for no key update
        ",
        id.0,
        scope.owner(),
    )
    .fetch_optional(&mut *conn)
    .await?;
    match locked {
        Some(_) => find(conn, scope, id).await,
        None => Ok(None),
    }
}

/// The endpoint with this id within the scope, if any.
///
/// # Errors
///
/// When the database refuses.
pub async fn find(
    conn: &mut PgConnection,
    scope: Scope,
    id: EndpointId,
) -> sqlx::Result<Option<Endpoint>> {
    Ok(select(conn, scope, Some(id), None, 1).await?.pop())
}

/// The newest `limit` endpoints within the scope, newest first; with `before`, only those older
/// than that one.
///
/// # Errors
///
/// When the database refuses.
pub async fn list(
    conn: &mut PgConnection,
    scope: Scope,
    before: Option<EndpointId>,
    limit: u16,
) -> sqlx::Result<Vec<Endpoint>> {
    select(conn, scope, None, before, limit).await
}

async fn select(
    conn: &mut PgConnection,
    scope: Scope,
    id: Option<EndpointId>,
    before: Option<EndpointId>,
    limit: u16,
) -> sqlx::Result<Vec<Endpoint>> {
    let rows = sqlx::query!(
        r#"
        select
          endpoint.id as "id: EndpointId", owner_id as "owner?: UserId", url, description,
          event_types, metadata, headers, timeout_ms, rate, ordered, signing_key, public_key,
          version, created_at, updated_at, disabled_at, disabled_reason, failures, failing_since,
          open_until
        from deliveries.endpoints as endpoint
        join deliveries.health on health.endpoint_id = endpoint.id
        where deleted_at is null
          and ($1::uuid is null or owner_id = $1)
          and ($2::uuid is null or endpoint.id = $2)
          and ($3::uuid is null or endpoint.id < $3)
        order by endpoint.id desc
        limit $4
        "#,
        scope.owner(),
        id.map(|id| id.0),
        before.map(|id| id.0),
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    let endpoints = rows.into_iter().map(|row| Endpoint {
        id: row.id,
        owner: row.owner,
        settings: Settings {
            url: row.url,
            description: row.description,
            event_types: row.event_types,
            metadata: row.metadata,
            headers: row.headers,
            timeout: Duration::from_millis(u64::try_from(row.timeout_ms).unwrap_or_default()),
            rate: row.rate,
            ordered: row.ordered,
            signing_key: row.signing_key,
            public_key: row.public_key,
        },
        version: row.version,
        created_at: row.created_at,
        updated_at: row.updated_at,
        disabled_at: row.disabled_at,
        disabled_reason: row.disabled_reason,
        failures: row.failures,
        failing_since: row.failing_since,
        open_until: row.open_until,
    });
    Ok(endpoints.collect())
}

/// The number of endpoints of a user, or of the operators.
///
/// # Errors
///
/// When the database refuses.
pub async fn count_of(conn: &mut PgConnection, owner: Option<UserId>) -> sqlx::Result<i64> {
    let count = sqlx::query_scalar!(
        r#"
        select count(*) as "count!"
        from deliveries.endpoints
        where owner_id is not distinct from $1 and deleted_at is null
        "#,
        owner.map(|user| user.0),
    );
    count.fetch_one(conn).await
}
