//! One delivery: its attempts, each with what was answered.

use std::sync::Arc;

use askama::Template;

use super::{delivery_state, endpoint_of, refused};
use crate::operations::endpoints::deliveries::{
    self, AttemptView, DeliveryView, EventId, parse_event_id,
};
use crate::operations::endpoints::{self, Scope};
use crate::pages::frame::Frame;
use crate::pages::refusals::{Refusal, not_found};
use crate::pages::visit::{Answer, Visit};
use crate::pages::words;

#[derive(Template)]
#[template(path = "delivery.html", config = "src/pages/askama.toml")]
struct DeliveryPage {
    frame: Frame,
    delivery: DeliveryView,
    path: String,
    place: String,
    state: (&'static str, &'static str),
    attempts: Vec<AttemptRow>,
    can_send: bool,
}

struct AttemptRow {
    attempt: AttemptView,
    result: String,
    tone: &'static str,
    took: String,
}

impl From<AttemptView> for AttemptRow {
    fn from(attempt: AttemptView) -> Self {
        let is_ok = attempt.error.is_none();
        Self {
            result: match attempt.status {
                Some(status) => format!("HTTP {status}"),
                None => "No answer".to_owned(),
            },
            tone: if is_ok { "ok" } else { "bad" },
            took: words::span(f64::from(attempt.duration_ms) / 1000.0),
            attempt,
        }
    }
}

/// The page of a delivery.
pub(in crate::pages) async fn show(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    visit.query.only(&[])?;
    let id = endpoint_of(&visit)?;
    let event = event_of(&visit)?;
    let endpoint = endpoints::find(&visit.site.pool, Scope::All, id).await.map_err(refused)?;
    let mut conn = visit.connect().await?;
    let found = deliveries::find(&mut conn, Scope::All, id, event).await.map_err(refused)?;
    let (delivery, attempts) = found;
    Answer::page(&DeliveryPage {
        frame: visit.frame(format!("Delivery of {}", delivery.event_id)),
        path: format!("/ui/deliveries/{id}/{}", delivery.event_id),
        place: endpoint.place(),
        state: delivery_state(delivery.state),
        attempts: attempts.into_iter().rev().map(AttemptRow::from).collect(),
        can_send: delivery.finished_at.is_some(),
        delivery,
    })
}

/// Sends it once more, by the whole schedule.
pub(in crate::pages) async fn retry(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let (id, event) = (endpoint_of(&visit)?, event_of(&visit)?);
    let (pool, by) = (&visit.site.pool, visit.identity());
    deliveries::retry(pool, Scope::All, id, event, &by).await.map_err(refused)?;
    visit.site.wake_workers().await;
    Ok(visit.done("The delivery is sent again."))
}

fn event_of(visit: &Visit) -> Result<EventId, Refusal> {
    parse_event_id(visit.parameter("name")).ok_or_else(|| not_found("event of this id"))
}
