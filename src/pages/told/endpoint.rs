//! One endpoint: its settings, its health, its latest deliveries, and what can be done with it.

use std::sync::Arc;

use askama::Template;

use super::deliveries::Row;
use super::replays::Asked;
use super::{endpoint_of, endpoints, refused, replays};
use crate::operations::endpoints::deliveries::{self, DeliveryFilter};
use crate::operations::endpoints::{self as operation, EndpointView, Scope};
use crate::operations::orders::UserId;
use crate::pages::frame::Frame;
use crate::pages::money::holders;
use crate::pages::refusals::Refusal;
use crate::pages::visit::{Answer, Visit};

/// The latest deliveries that are shown.
const DELIVERIES: u16 = 20;

#[derive(Template)]
#[template(path = "endpoint.html", config = "src/pages/askama.toml")]
struct EndpointPage {
    frame: Frame,
    endpoint: EndpointView,
    path: String,
    place: String,
    owner: String,
    state: (&'static str, &'static str),
    events: String,
    metadata: Vec<(String, String)>,
    rows: Vec<Row>,
    /// Each row says to whom it goes.
    shows_endpoint: bool,
    /// The replay that a form asks for, counted.
    asked: Option<Asked>,
}

/// The page of an endpoint.
pub(in crate::pages) async fn show(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    visit.query.only(&["replay", "since"])?;
    let id = endpoint_of(&visit)?;
    let endpoint = operation::find(&visit.site.pool, Scope::All, id).await.map_err(refused)?;
    let mut conn = visit.connect().await?;
    let filter = DeliveryFilter { endpoint: Some(id), state: None };
    let (latest, _) = deliveries::browse(&mut conn, filter, None, DELIVERIES).await?;
    let owner = match endpoint.owner_id {
        Some(owner) => holders::owner_name(&mut conn, UserId(owner)).await?,
        None => "operators".to_owned(),
    };
    let place = endpoint.place();
    Answer::page(&EndpointPage {
        frame: visit.frame(&place),
        path: format!("/ui/endpoints/{id}"),
        owner,
        state: endpoints::state(&endpoint),
        events: endpoints::events(&endpoint),
        metadata: metadata(&endpoint),
        rows: latest.into_iter().map(|delivery| Row::new(delivery, place.clone())).collect(),
        shows_endpoint: false,
        asked: replays::asked(&visit, &mut conn, id).await?,
        place,
        endpoint,
    })
}

/// The owner's notes, as names and values.
fn metadata(endpoint: &EndpointView) -> Vec<(String, String)> {
    let notes = endpoint.metadata.as_object().into_iter().flatten();
    let text = |value: &serde_json::Value| match value.as_str() {
        Some(text) => text.to_owned(),
        None => value.to_string(),
    };
    notes.map(|(name, value)| (name.clone(), text(value))).collect()
}

/// Sends to it again, as if it had never failed.
pub(in crate::pages) async fn enable(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    switch(&visit, true, "The endpoint is enabled. Disable takes this back.").await
}

/// Sends nothing more to it.
pub(in crate::pages) async fn disable(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    switch(
        &visit,
        false,
        "The endpoint is disabled: nothing is sent to it. Enable takes this back.",
    )
    .await
}

async fn switch(visit: &Visit, is_enabled: bool, told: &str) -> Result<Answer, Refusal> {
    let id = endpoint_of(visit)?;
    let (pool, by) = (&visit.site.pool, visit.identity());
    operation::switch(pool, Scope::All, id, is_enabled, &by).await.map_err(refused)?;
    Ok(visit.done(told))
}

/// Sends a test event to it, and to nobody else.
pub(in crate::pages) async fn test(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let id = endpoint_of(&visit)?;
    let event = deliveries::send_test(&visit.site.pool, Scope::All, id).await.map_err(refused)?;
    visit.site.wake_workers().await;
    Ok(visit.done(format!("Event {event} is on its way.")))
}
