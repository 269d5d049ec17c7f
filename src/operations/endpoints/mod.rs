//! Endpoints: who is told of what, where; for their owners and for operators.
//!
//! [`Scope`] says whose endpoints a caller sees: one outside of it does not exist for them.

pub mod deliveries;
mod settings;
mod views;

use std::time::Duration;

use sqlx::PgPool;

pub use self::settings::{EndpointChange, MAX_OVERLAP, SettingRefusal};
pub use self::views::{EndpointView, SecretView};
pub use crate::deliveries::Guard;
pub use crate::deliveries::endpoints::Scope;
pub use crate::deliveries::settings::ReachArgs;
pub use crate::ids::{EndpointId, UserId};

use crate::deliveries::endpoints::{self, DisabledReason, Endpoint};
use crate::ids::new_by_database_clock;
use crate::queue::commits::commit;
use crate::standard_webhooks::WebhookSecret;

/// The most endpoints of one user, and of the operators together.
const MAX_OF_USER: i64 = 20;
const MAX_OF_OPERATORS: i64 = 1000;

/// An error of an operation on endpoints.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// There is no such endpoint within the caller's scope.
    #[error("there is no such endpoint")]
    NotFound,
    /// The owner has as many endpoints as they may.
    #[error("there are {0} endpoints already, and there may be no more")]
    TooMany(i64),
    /// A setting is not acceptable.
    #[error(transparent)]
    Refused(#[from] SettingRefusal),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random(#[from] getrandom::Error),
    /// The database refuses.
    #[error("the database refuses")]
    Database(#[from] sqlx::Error),
}

/// Makes an endpoint of a user's, or of the operators'. The secret is told here and never again.
///
/// # Errors
///
/// [`EndpointError`].
pub async fn create(
    pool: &PgPool,
    guard: &Guard,
    owner: Option<UserId>,
    change: EndpointChange,
) -> Result<(EndpointView, SecretView), EndpointError> {
    // Looks names up, so no transaction is open meanwhile.
    let settings = change.apply(None, guard).await?;
    let secret = WebhookSecret::random()?.reveal();
    let mut tx = pool.begin().await?;
    let id = EndpointId(new_by_database_clock(&mut tx).await?);
    let most = if owner.is_some() { MAX_OF_USER } else { MAX_OF_OPERATORS };
    // Two at once cannot both be the last one.
    sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(format!("endpoints of {owner:?}"))
        .execute(&mut *tx)
        .await?;
    if endpoints::count_of(&mut tx, owner).await? >= most {
        return Err(EndpointError::TooMany(most));
    }
    endpoints::create(&mut tx, id, owner, &settings, &secret).await?;
    let created = endpoints::find(&mut tx, Scope::All, id).await?.ok_or(EndpointError::NotFound)?;
    commit(tx).await?;
    Ok((created.into(), SecretView::new(secret)))
}

/// The endpoint with this id.
///
/// # Errors
///
/// [`EndpointError::NotFound`], [`EndpointError::Database`].
pub async fn find(
    pool: &PgPool,
    scope: Scope,
    id: EndpointId,
) -> Result<EndpointView, EndpointError> {
    let mut conn = pool.acquire().await?;
    let found = endpoints::find(&mut conn, scope, id).await?;
    Ok(found.ok_or(EndpointError::NotFound)?.into())
}

/// The newest `limit` endpoints, newest first; with `before`, only those older than that one.
///
/// # Errors
///
/// [`EndpointError::Database`].
pub async fn list(
    pool: &PgPool,
    scope: Scope,
    before: Option<EndpointId>,
    limit: u16,
) -> Result<Vec<EndpointView>, EndpointError> {
    let mut conn = pool.acquire().await?;
    let found = endpoints::list(&mut conn, scope, before, limit).await?;
    Ok(found.into_iter().map(EndpointView::from).collect())
}

/// Changes the settings of an endpoint; what the change does not name stays.
///
/// # Errors
///
/// [`EndpointError`].
pub async fn update(
    pool: &PgPool,
    guard: &Guard,
    scope: Scope,
    id: EndpointId,
    change: EndpointChange,
) -> Result<EndpointView, EndpointError> {
    let mut conn = pool.acquire().await?;
    let present = endpoints::find(&mut conn, scope, id).await?.ok_or(EndpointError::NotFound)?;
    drop(conn);
    // Looks names up, so no transaction is open meanwhile.
    let checked = change.check(guard).await?;
    let mut tx = pool.begin().await?;
    let locked = endpoints::find_locked(&mut tx, scope, present.id).await?;
    let locked = locked.ok_or(EndpointError::NotFound)?;
    let settings = checked.apply_to(Some(locked.settings))?;
    endpoints::update(&mut tx, id, &settings).await?;
    let updated = endpoints::find(&mut tx, scope, id).await?.ok_or(EndpointError::NotFound)?;
    commit(tx).await?;
    Ok(updated.into())
}

/// Deletes an endpoint. Deliveries to it that wait are given up.
///
/// # Errors
///
/// [`EndpointError::NotFound`], [`EndpointError::Database`].
pub async fn delete(pool: &PgPool, scope: Scope, id: EndpointId) -> Result<(), EndpointError> {
    let mut tx = pool.begin().await?;
    let found = endpoints::find_locked(&mut tx, scope, id).await?;
    let Endpoint { id, .. } = found.ok_or(EndpointError::NotFound)?;
    endpoints::delete(&mut tx, id).await?;
    Ok(commit(tx).await?)
}

/// Sends nothing more to an endpoint until it is enabled, or sends to it again as if it had never
/// failed.
///
/// # Errors
///
/// [`EndpointError::NotFound`], [`EndpointError::Database`].
pub async fn switch(
    pool: &PgPool,
    scope: Scope,
    id: EndpointId,
    is_enabled: bool,
) -> Result<EndpointView, EndpointError> {
    let mut tx = pool.begin().await?;
    let found = endpoints::find_locked(&mut tx, scope, id).await?;
    let Endpoint { id, .. } = found.ok_or(EndpointError::NotFound)?;
    match is_enabled {
        true => endpoints::enable(&mut tx, id).await?,
        false => endpoints::disable(&mut tx, id, DisabledReason::ByHand).await?,
    };
    let switched = endpoints::find(&mut tx, scope, id).await?.ok_or(EndpointError::NotFound)?;
    commit(tx).await?;
    Ok(switched.into())
}

/// Makes a new secret, which signs from now on; the one before signs beside it for `overlap`, at
/// most [`MAX_OVERLAP`]. It is told here and never again.
///
/// # Errors
///
/// [`EndpointError`].
pub async fn rotate_secret(
    pool: &PgPool,
    scope: Scope,
    id: EndpointId,
    overlap: Duration,
) -> Result<SecretView, EndpointError> {
    if overlap > MAX_OVERLAP {
        return Err(SettingRefusal::new("overlap_seconds", "must be at most 7 days").into());
    }
    let secret = WebhookSecret::random()?.reveal();
    let mut tx = pool.begin().await?;
    let found = endpoints::find_locked(&mut tx, scope, id).await?;
    let Endpoint { id, .. } = found.ok_or(EndpointError::NotFound)?;
    endpoints::rotate_secret(&mut tx, id, &secret, overlap).await?;
    commit(tx).await?;
    Ok(SecretView::new(secret))
}
