//! Endpoints: who wants to be told of what, and where.

use std::time::Duration;

use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::ids::{EndpointId, UserId};

/// Whose endpoints are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// A user's own.
    Of(UserId),
    /// All, of operators and of users.
    All,
}

impl Scope {
    fn owner(self) -> Option<uuid::Uuid> {
        match self {
            Self::Of(user) => Some(user.0),
            Self::All => None,
        }
    }
}

/// The settings of an endpoint, as its owner chose them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The address to send to.
    pub url: String,
    /// The owner's own words.
    pub description: Option<String>,
    /// The names of the event types that are sent; none means all.
    pub event_types: Option<Vec<String>>,
    /// The owner's own notes: a JSON object.
    pub metadata: Value,
    /// Names and values of the owner's own headers: a JSON object. The values may be secrets.
    pub headers: Value,
    /// The time for an attempt.
    pub timeout: Duration,
    /// The most deliveries in a second.
    pub rate: Option<i32>,
    /// One after another, in the order of the events.
    pub ordered: bool,
    /// The seed of the ed25519 key that signs beside the secrets. A secret.
    pub signing_key: Option<String>,
}

/// A stored endpoint.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The id of the endpoint.
    pub id: EndpointId,
    /// The user whose it is; none when it is the operators'.
    pub owner: Option<UserId>,
    /// Its settings.
    pub settings: Settings,
    /// Changes with every change of the settings.
    pub version: i64,
    /// The moment at which it was made.
    pub created_at: OffsetDateTime,
    /// The moment of its last change.
    pub updated_at: OffsetDateTime,
    /// The moment since which nothing is sent to it.
    pub disabled_at: Option<OffsetDateTime>,
    /// Why nothing is sent to it, as a stable code.
    pub disabled_reason: Option<String>,
    /// Failed attempts since the last success.
    pub failures: i32,
    /// The moment of the first of these.
    pub failing_since: Option<OffsetDateTime>,
    /// Nothing is sent before this moment.
    pub open_until: Option<OffsetDateTime>,
}

/// Why nothing is sent to an endpoint any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DisabledReason {
    /// Its owner or an operator said so.
    ByHand,
    /// It answered 410.
    Gone,
    /// It has failed for days.
    Failing,
}

impl DisabledReason {
    /// The stable name.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::ByHand => "by-hand",
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }
}

/// Makes an endpoint with this secret.
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
          signing_key
        ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
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
          timeout_ms = $7, rate = $8, ordered = $9, signing_key = $10,
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
    sqlx::query!(
        "
        update deliveries.health set failures = 0, failing_since = null, open_until = null
        where endpoint_id = $1
        ",
        id.0,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
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
          headers = '{}', signing_key = null
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

/// Makes this the current secret. The one before goes on to sign beside it for so long.
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
          event_types, metadata, headers, timeout_ms, rate, ordered, signing_key, version,
          created_at, updated_at, disabled_at, disabled_reason, failures, failing_since, open_until
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
