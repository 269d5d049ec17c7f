//! Accounts by the names that people know them by.

use std::collections::{BTreeSet, HashMap};

use sqlx::PgConnection;
use uuid::Uuid;

use super::timeline::Names;
use super::transactions;
use crate::http::wire::problem::Problem;
use crate::operations::endpoints::{self, EndpointId, Scope};
use crate::operations::ledger::{self, Account, AccountEntry, AccountId, AccountKind, UserId};
use crate::operations::timeline::TimelineEvent;
use crate::operations::users::{self, UserRef};
use crate::pages::refusals::Refusal;

/// The most users, and the most endpoints, whose names are looked up for one timeline.
const MAX_NAMED: usize = 50;

/// The name of an account: the provider's, or that of its owner.
///
/// # Errors
///
/// When the database refuses.
pub(in crate::pages) async fn name(
    conn: &mut PgConnection,
    account: &Account,
) -> Result<String, Refusal> {
    Ok(match (account.kind, &account.external_ref, account.owner) {
        (AccountKind::External, Some(name), _) => name.clone(),
        (AccountKind::Wallet, _, Some(owner)) => owner_name(conn, owner).await?,
        (AccountKind::Bank, _, _) => "The bank".to_owned(),
        (AccountKind::External | AccountKind::Wallet, _, _) => account.id.to_string(),
    })
}

/// The address of a user; the id of one who is not there any more.
///
/// # Errors
///
/// When the database refuses.
pub(in crate::pages) async fn owner_name(
    conn: &mut PgConnection,
    owner: UserId,
) -> Result<String, Refusal> {
    let found = users::find(conn, &UserRef::Id(owner)).await.map_err(Problem::from)?;
    Ok(found.map_or_else(|| owner.to_string(), |user| user.email))
}

/// The names of these accounts.
///
/// # Errors
///
/// When the database refuses.
pub(in crate::pages) async fn names(
    conn: &mut PgConnection,
    ids: &[AccountId],
) -> Result<HashMap<AccountId, String>, Refusal> {
    let mut names = HashMap::new();
    for account in ledger::find_many(&mut *conn, ids).await.map_err(Problem::from)? {
        names.insert(account.id, name(&mut *conn, &account).await?);
    }
    Ok(names)
}

/// The names of the accounts, endpoints and users that a timeline tells of.
///
/// # Errors
///
/// When the database refuses.
pub(in crate::pages) async fn named_in(
    conn: &mut PgConnection,
    events: &[TimelineEvent],
) -> Result<Names, Refusal> {
    let ids = |field: &str| -> BTreeSet<Uuid> {
        let texts = events.iter().filter_map(|event| event.details.get(field)?.as_str());
        texts.filter_map(|text| text.parse().ok()).collect()
    };
    let mut named = Names::new();
    let accounts: Vec<AccountId> = ids("account_id").into_iter().map(AccountId).collect();
    for (id, name) in names(&mut *conn, &accounts).await? {
        named.insert(id.to_string(), name);
    }
    for user in ids("user_id").into_iter().take(MAX_NAMED) {
        named.insert(user.to_string(), owner_name(&mut *conn, UserId(user)).await?);
    }
    for endpoint in ids("endpoint_id").into_iter().take(MAX_NAMED) {
        // A deleted one goes by its id.
        if let Ok(found) = endpoints::find_in(&mut *conn, Scope::All, EndpointId(endpoint)).await {
            named.insert(endpoint.to_string(), found.place());
        }
    }
    Ok(named)
}

/// An entry with names and links.
pub(in crate::pages) struct EntryRow {
    /// The entry.
    pub(in crate::pages) entry: AccountEntry,
    /// The name of its account.
    pub(in crate::pages) account: String,
    /// The transaction or order that has caused it, and its page; none for other movements.
    pub(in crate::pages) cause: Option<(String, String)>,
}

/// Entries with names and links, in their order.
///
/// # Errors
///
/// When the database refuses.
pub(in crate::pages) async fn entry_rows(
    conn: &mut PgConnection,
    entries: Vec<AccountEntry>,
) -> Result<Vec<EntryRow>, Refusal> {
    let mut ids: Vec<AccountId> = entries.iter().map(|entry| entry.account).collect();
    ids.dedup();
    let names = names(conn, &ids).await?;
    let row = |entry: AccountEntry| EntryRow {
        account: names.get(&entry.account).cloned().unwrap_or_default(),
        cause: match (&entry.transaction_id, entry.order) {
            (Some(id), _) => Some((id.clone(), transactions::url(id))),
            (None, Some(id)) => Some((id.to_string(), format!("/ui/orders/{id}"))),
            (None, None) => None,
        },
        entry,
    };
    Ok(entries.into_iter().map(row).collect())
}
