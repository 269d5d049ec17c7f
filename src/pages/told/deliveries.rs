//! The list of deliveries to all endpoints, or to one.

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use uuid::Uuid;

use super::{delivery_state, refused};
use crate::http::wire::problem::Problem;
use crate::http::wire::spreadsheet::rfc3339;
use crate::operations::endpoints::deliveries::{
    self, DeliveryFilter, DeliveryKey, DeliveryState, DeliveryView,
};
use crate::operations::endpoints::{self, EndpointId, Scope};
use crate::pages::filters::{FilterBar, Filters, Pager, Tab};
use crate::pages::frame::Frame;
use crate::pages::refusals::Refusal;
use crate::pages::visit::download::{ROWS_AT_ONCE, download};
use crate::pages::visit::{Answer, Pairs, Visit};

/// The deliveries of one page.
const SHOWN: u16 = 50;
/// The endpoints whose addresses are looked up for a page, the newest ones.
const KNOWN_ENDPOINTS: u16 = 200;

const FILTERS: Filters = Filters {
    path: "/ui/deliveries",
    parts: &[("endpoint", "Endpoint id")],
    tabs: &["state"],
    one: None,
};

const TABS: [(&str, &str); 4] =
    [("", "All"), ("pending", "Pending"), ("delivered", "Delivered"), ("failed", "Failed")];

const STATES: [DeliveryState; 3] =
    [DeliveryState::Pending, DeliveryState::Delivered, DeliveryState::Failed];

#[derive(Template)]
#[template(path = "deliveries.html", config = "src/pages/askama.toml")]
struct DeliveriesPage {
    frame: Frame,
    tabs: Vec<Tab>,
    filter: FilterBar,
    rows: Vec<Row>,
    /// Each row says to whom it goes.
    shows_endpoint: bool,
    pager: Pager,
}

/// A delivery in a list.
pub(super) struct Row {
    pub(super) delivery: DeliveryView,
    pub(super) url: String,
    /// The address of the endpoint.
    pub(super) place: String,
    pub(super) state: (&'static str, &'static str),
}

impl Row {
    pub(super) fn new(delivery: DeliveryView, place: String) -> Self {
        Self {
            url: format!("/ui/deliveries/{}/{}", delivery.endpoint_id, delivery.event_id),
            state: delivery_state(delivery.state),
            place,
            delivery,
        }
    }
}

/// The list, newest event first.
pub(in crate::pages) async fn list(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let query = &visit.query;
    if let Some(elsewhere) = FILTERS.check(query)? {
        return Ok(elsewhere);
    }
    let filter = filter(query)?;
    let before = before_of(query)?;
    let places = places(&visit).await?;
    let mut conn = visit.connect_to_list().await?;
    let (found, next) = deliveries::browse(&mut conn, filter, before, SHOWN).await?;
    let row = |delivery: DeliveryView| {
        let place = places.get(&delivery.endpoint_id).cloned();
        let place = place.unwrap_or_else(|| format!("endpoint {}", delivery.endpoint_id));
        Row::new(delivery, place)
    };
    Answer::page(&DeliveriesPage {
        frame: visit.frame("Deliveries"),
        tabs: FILTERS.tabs(query, "state", &TABS),
        filter: FILTERS.bar(query),
        rows: found.into_iter().map(row).collect(),
        shows_endpoint: true,
        pager: FILTERS.pager(query, next.map(|key| format!("{}.{}", key.event, key.endpoint))),
    })
}

fn filter(query: &Pairs) -> Result<DeliveryFilter, Problem> {
    let endpoint = query.parsed("endpoint", "must be the id of an endpoint")?.map(EndpointId);
    Ok(DeliveryFilter { endpoint, state: state_of(query)? })
}

const COLUMNS: [&str; 8] = [
    "event_id",
    "event_type",
    "endpoint_id",
    "state",
    "reason",
    "attempts",
    "created_at",
    "finished_at",
];

/// The list as a file.
pub(in crate::pages) async fn csv(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    FILTERS.check(&visit.query)?;
    let filter = filter(&visit.query)?;
    download(visit, "deliveries", &COLUMNS, move |mut conn, before| async move {
        let (found, next) = deliveries::browse(&mut conn, filter, before, ROWS_AT_ONCE).await?;
        Ok((found.into_iter().map(cells).collect(), next))
    })
    .await
}

fn cells(delivery: DeliveryView) -> Vec<String> {
    vec![
        delivery.event_id,
        delivery.event_type,
        delivery.endpoint_id.to_string(),
        delivery.state.to_owned(),
        delivery.reason.unwrap_or_default(),
        delivery.attempts.to_string(),
        rfc3339(delivery.created_at),
        delivery.finished_at.map(rfc3339).unwrap_or_default(),
    ]
}

async fn places(visit: &Visit) -> Result<HashMap<Uuid, String>, Refusal> {
    let known = endpoints::list(&visit.site.pool, Scope::All, None, KNOWN_ENDPOINTS).await;
    let known = known.map_err(refused)?;
    Ok(known.into_iter().map(|endpoint| (endpoint.id, endpoint.place())).collect())
}

fn state_of(query: &Pairs) -> Result<Option<DeliveryState>, Problem> {
    let Some(text) = query.one("state") else { return Ok(None) };
    let found = STATES.into_iter().find(|state| state.as_str() == text);
    let wrong = || Problem::parameter("state", "must be pending, delivered or failed");
    Ok(Some(found.ok_or_else(wrong)?))
}

fn before_of(query: &Pairs) -> Result<Option<DeliveryKey>, Problem> {
    let Some(text) = query.one("before") else { return Ok(None) };
    let wrong = || Problem::parameter("before", "must be the place of a delivery");
    let (event, endpoint) = text.split_once('.').ok_or_else(wrong)?;
    let event = event.parse().map_err(|_| wrong())?;
    let endpoint = endpoint.parse().map(EndpointId).map_err(|_| wrong())?;
    Ok(Some(DeliveryKey { event, endpoint }))
}
