//! Endpoints: who is told of what, where; for their owners and for operators.
//!
//! [`Scope`] says whose endpoints a caller sees: one outside of it does not exist for them.

pub mod deliveries;
mod delivery_views;
mod settings;
mod views;

use std::time::Duration;

use serde_json::json;
use sqlx::{PgConnection, PgPool};

pub use self::settings::{EndpointChange, MAX_OVERLAP, SettingRefusal};
pub use self::views::{EndpointView, SecretView};
pub use crate::deliveries::Guard;
pub use crate::deliveries::endpoints::Scope;
pub use crate::deliveries::settings::ReachArgs;
pub use crate::ids::{EndpointId, UserId};
pub use crate::jobs::EndpointSecrets;

use super::Identity;
use crate::audit::{self, Subject};
use crate::deliveries::endpoints::{self, DisabledReason, Endpoint};
use crate::ids::new_by_database_clock;
use crate::queue::commits::commit;
use crate::queue::sealing::SealError;
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
    /// A secret cannot be sealed.
    #[error("a secret cannot be sealed")]
    Seal(#[from] SealError),
    /// The database refuses.
    #[error("the database refuses")]
    Database(#[from] sqlx::Error),
}

/// The protection of an endpoint and of others from it.
#[derive(Clone, Debug)]
pub struct Safeguards {
    /// Vets addresses.
    pub guard: Guard,
    /// Seals secrets.
    pub secrets: EndpointSecrets,
}

impl From<Guard> for Safeguards {
    /// Secrets are stored in plain.
    fn from(guard: Guard) -> Self {
        Self { guard, secrets: EndpointSecrets::default() }
    }
}

/// Makes an endpoint of a user's, or of the operators'. The secret is told here and never again.
///
/// # Errors
///
/// [`EndpointError`].
pub async fn create(
    pool: &PgPool,
    safeguards: &Safeguards,
    owner: Option<UserId>,
    change: EndpointChange,
    by: &Identity,
) -> Result<(EndpointView, SecretView), EndpointError> {
    // Looks names up, so no transaction is open meanwhile.
    let settings = change.apply(None, &safeguards.guard).await?;
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
    let settings = safeguards.secrets.seal_settings(id, settings)?;
    let stored = safeguards.secrets.seal(id, &secret)?;
    endpoints::create(&mut tx, id, owner, &settings, &stored).await?;
    let created = find_in(&mut tx, Scope::All, id).await?;
    let entry = by.entry("endpoint.create", subject(id)).after(&created);
    audit::record(&mut tx, &[entry]).await?;
    commit(tx).await?;
    Ok((created, SecretView::new(secret)))
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
    find_in(&mut *pool.acquire().await?, scope, id).await
}

/// [`find`], on a connection.
///
/// # Errors
///
/// As [`find`].
pub async fn find_in(
    conn: &mut PgConnection,
    scope: Scope,
    id: EndpointId,
) -> Result<EndpointView, EndpointError> {
    let found = endpoints::find(conn, scope, id).await?;
    Ok(found.ok_or(EndpointError::NotFound)?.into())
}

/// The endpoint, which nobody else can change until the transaction ends.
async fn lock(
    conn: &mut PgConnection,
    scope: Scope,
    id: EndpointId,
) -> Result<Endpoint, EndpointError> {
    endpoints::find_locked(conn, scope, id).await?.ok_or(EndpointError::NotFound)
}

/// The endpoint in the audit log.
fn subject(id: EndpointId) -> Subject {
    Subject::new("endpoint", id)
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
    safeguards: &Safeguards,
    scope: Scope,
    id: EndpointId,
    change: EndpointChange,
    by: &Identity,
) -> Result<EndpointView, EndpointError> {
    find(pool, scope, id).await?;
    // Looks names up, so no transaction is open meanwhile.
    let checked = change.check(&safeguards.guard).await?;
    let mut tx = pool.begin().await?;
    let locked = lock(&mut tx, scope, id).await?;
    let before = EndpointView::from(locked.clone());
    let settings = checked.apply_to(Some(locked.settings))?;
    let settings = safeguards.secrets.seal_settings(id, settings)?;
    endpoints::update(&mut tx, id, &settings).await?;
    let after = find_in(&mut tx, scope, id).await?;
    let entry = by.entry("endpoint.change", subject(id)).before(&before).after(&after);
    audit::record(&mut tx, &[entry]).await?;
    commit(tx).await?;
    Ok(after)
}

/// Deletes an endpoint. Deliveries to it that wait are given up.
///
/// # Errors
///
/// [`EndpointError::NotFound`], [`EndpointError::Database`].
pub async fn delete(
    pool: &PgPool,
    scope: Scope,
    id: EndpointId,
    by: &Identity,
) -> Result<(), EndpointError> {
    let mut tx = pool.begin().await?;
    let before = EndpointView::from(lock(&mut tx, scope, id).await?);
    endpoints::delete(&mut tx, id).await?;
    let entry = by.entry("endpoint.delete", subject(id)).before(&before);
    audit::record(&mut tx, &[entry]).await?;
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
    by: &Identity,
) -> Result<EndpointView, EndpointError> {
    let mut tx = pool.begin().await?;
    let before = EndpointView::from(lock(&mut tx, scope, id).await?);
    let (action, is_change) = match is_enabled {
        true => ("endpoint.enable", endpoints::enable(&mut tx, id).await?),
        false => {
            let reason = DisabledReason::ByHand;
            ("endpoint.disable", endpoints::disable(&mut tx, id, reason).await?)
        }
    };
    let after = find_in(&mut tx, scope, id).await?;
    if is_change {
        let entry = by.entry(action, subject(id)).before(&before).after(&after);
        audit::record(&mut tx, &[entry]).await?;
    }
    commit(tx).await?;
    Ok(after)
}

/// Makes a new secret, which signs from now on; the one before signs beside it for `overlap`, at
/// most [`MAX_OVERLAP`]. It is told here and never again.
///
/// # Errors
///
/// [`EndpointError`].
pub async fn rotate_secret(
    pool: &PgPool,
    secrets: &EndpointSecrets,
    scope: Scope,
    id: EndpointId,
    overlap: Duration,
    by: &Identity,
) -> Result<SecretView, EndpointError> {
    if overlap > MAX_OVERLAP {
        return Err(SettingRefusal::new("overlap_seconds", "must be at most 7 days").into());
    }
    let secret = WebhookSecret::random()?.reveal();
    let mut tx = pool.begin().await?;
    lock(&mut tx, scope, id).await?;
    endpoints::rotate_secret(&mut tx, id, &secrets.seal(id, &secret)?, overlap).await?;
    let entry = by.entry("endpoint.rotate_secret", subject(id));
    let entry = entry.data(&json!({ "overlap_seconds": overlap.as_secs() }));
    audit::record(&mut tx, &[entry]).await?;
    commit(tx).await?;
    Ok(SecretView::new(secret))
}
