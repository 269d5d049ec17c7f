//! Which events concern whom, and which of them an endpoint wants.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::Subject;
use crate::deliveries::endpoints::Endpoint;
use crate::events::{Event, EventType};
use crate::ids::OrderId;
use crate::payments::LedgerError;
use crate::payments::orders::{self, Party};

/// The users whom these events concern, by the numbers of the events. A provider's transaction
/// concerns no user.
pub(super) async fn parties_of(
    conn: &mut PgConnection,
    events: &[Event],
) -> Result<Vec<(i64, Party)>, LedgerError> {
    let orders: HashMap<OrderId, i64> = events
        .iter()
        .filter_map(|event| match event.subject.parse() {
            Ok(Subject::Order(order)) => Some((order, event.seq)),
            Ok(Subject::Transaction(_) | Subject::Endpoint(_)) | Err(_) => None,
        })
        .collect();
    if orders.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<OrderId> = orders.keys().copied().collect();
    let parties = orders::parties(conn, &ids).await?;
    Ok(parties.into_iter().filter_map(|it| Some((*orders.get(&it.order)?, it))).collect())
}

/// The numbers of those of these events that an endpoint wants, in their order.
///
/// # Errors
///
/// When the database refuses.
pub async fn wanted_by(
    conn: &mut PgConnection,
    endpoint: &Endpoint,
    events: &[Event],
) -> Result<Vec<i64>, LedgerError> {
    let names = endpoint.settings.event_types.as_ref();
    let is_of_type = |event: &&Event| {
        event.event_type != EventType::WebhookTest.as_str()
            && names.is_none_or(|names| names.contains(&event.event_type))
    };
    let wanted = events.iter().filter(is_of_type).map(|event| event.seq);
    let Some(owner) = endpoint.owner else { return Ok(wanted.collect()) };
    let parties = parties_of(conn, events).await?;
    let concerns_owner =
        |event: &i64| parties.iter().any(|(of, party)| of == event && party.user == owner);
    Ok(wanted.filter(concerns_owner).collect())
}
