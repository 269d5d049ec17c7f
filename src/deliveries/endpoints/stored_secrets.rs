//! Secrets as they are stored, to be sealed with another key. What is sealed, and with what, is not
//! known here: a sealed one names its key.

use serde_json::Value;
use sqlx::PgConnection;

use crate::ids::EndpointId;

/// The secrets of one endpoint, as they are stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredSecrets {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Names and values of the owner's own headers.
    pub headers: Value,
    /// The seed of the ed25519 key.
    pub signing_key: Option<String>,
    /// Its public key; also none when the seed was stored in plain by an earlier version.
    pub public_key: Option<String>,
    /// The numbers of the secrets that sign, and the secrets.
    pub secrets: Vec<(i64, String)>,
}

/// The endpoints after this one that have a secret with another key than this, or in plain; at most
/// `limit`, in the order of their ids.
///
/// # Errors
///
/// When the database refuses.
pub async fn with_other_keys(
    conn: &mut PgConnection,
    key: &str,
    after: EndpointId,
    limit: u16,
) -> sqlx::Result<Vec<EndpointId>> {
    sqlx::query_scalar!(
        r#"
        select endpoint.id as "id: EndpointId"
        from deliveries.endpoints as endpoint
        where endpoint.id > $2
          and (
            exists (
              select from jsonb_each(endpoint.headers) as header
              where queue.sealed_key(header.value) is distinct from $1
            )
            or (
              endpoint.signing_key is not null
              and deliveries.sealed_key(endpoint.signing_key) is distinct from $1
            )
            or exists (
              select from deliveries.secrets as secret
              where secret.endpoint_id = endpoint.id
                and deliveries.sealed_key(secret.secret) is distinct from $1
            )
          )
        order by endpoint.id
        limit $3
        "#,
        key,
        after.0,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await
}

/// The secrets of an endpoint, which nobody else can change until the transaction ends; none if
/// there is no such endpoint.
///
/// # Errors
///
/// When the database refuses.
pub async fn lock_secrets(
    conn: &mut PgConnection,
    endpoint: EndpointId,
) -> sqlx::Result<Option<StoredSecrets>> {
    let found = sqlx::query!(
        "
        select headers, signing_key, public_key
        from deliveries.endpoints
        where id = $1
        for no key update
        ",
        endpoint.0,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(found) = found else { return Ok(None) };
    let secrets = sqlx::query!(
        "select number, secret from deliveries.secrets where endpoint_id = $1 order by number",
        endpoint.0,
    )
    .fetch_all(conn)
    .await?;
    let secrets = secrets.into_iter().map(|row| (row.number, row.secret)).collect();
    let (headers, signing_key, public_key) = (found.headers, found.signing_key, found.public_key);
    Ok(Some(StoredSecrets { endpoint, headers, signing_key, public_key, secrets }))
}

/// Stores these secrets in the place of those that were [locked](lock_secrets). For the owner of
/// the endpoint nothing changes.
///
/// # Errors
///
/// When the database refuses.
pub async fn store_secrets(conn: &mut PgConnection, stored: &StoredSecrets) -> sqlx::Result<()> {
    let id = stored.endpoint.0;
    sqlx::query!(
        "
        update deliveries.endpoints
        set headers = $2, signing_key = $3, public_key = $4
        where id = $1
        ",
        id,
        stored.headers,
        stored.signing_key,
        stored.public_key,
    )
    .execute(&mut *conn)
    .await?;
    let (numbers, secrets): (Vec<i64>, Vec<String>) = stored.secrets.iter().cloned().unzip();
    sqlx::query!(
        "
        update deliveries.secrets as secret
        set secret = new.secret
        from unnest($2::bigint[], $3::text[]) as new (number, secret)
        where secret.endpoint_id = $1 and secret.number = new.number
        ",
        id,
        &numbers,
        &secrets,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The number of secrets with each key, in the order of the keys; those in plain come last, under
/// none. Headers count one by one.
///
/// # Errors
///
/// When the database refuses.
pub async fn count_keys(conn: &mut PgConnection) -> sqlx::Result<Vec<(Option<String>, i64)>> {
    let rows = sqlx::query!(
        r#"
        select key, count(*) as "count!"
        from (
          select queue.sealed_key(header.value)
          from deliveries.endpoints as endpoint
          cross join jsonb_each(endpoint.headers) as header
          union all
          select deliveries.sealed_key(signing_key)
          from deliveries.endpoints
          where signing_key is not null
          union all
          select deliveries.sealed_key(secret) from deliveries.secrets
        ) as stored (key)
        group by key
        order by key
        "#
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.key, row.count)).collect())
}
