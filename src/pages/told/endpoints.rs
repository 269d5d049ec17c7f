//! The list of endpoints.

use std::sync::Arc;

use askama::Template;

use super::refused;
use crate::operations::endpoints::{self, EndpointId, EndpointView, Scope};
use crate::pages::filters::Pager;
use crate::pages::frame::Frame;
use crate::pages::refusals::Refusal;
use crate::pages::visit::{Answer, Visit};

/// The endpoints of one page.
const SHOWN: u16 = 50;
const PATH: &str = "/ui/endpoints";

#[derive(Template)]
#[template(path = "endpoints.html", config = "src/pages/askama.toml")]
struct EndpointsPage {
    frame: Frame,
    rows: Vec<Row>,
    pager: Pager,
}

struct Row {
    endpoint: EndpointView,
    place: String,
    state: (&'static str, &'static str),
    events: String,
}

impl From<EndpointView> for Row {
    fn from(endpoint: EndpointView) -> Self {
        Self {
            place: endpoint.place(),
            state: state(&endpoint),
            events: events(&endpoint),
            endpoint,
        }
    }
}

/// The state of an endpoint in a word, and the class of that.
pub(super) fn state(endpoint: &EndpointView) -> (&'static str, &'static str) {
    match (&endpoint.disabled_reason, endpoint.resting_until, endpoint.failures) {
        (Some(reason), _, _) if reason == "by-hand" => ("Disabled", "idle"),
        (Some(_), _, _) => ("Disabled", "bad"),
        (None, Some(_), _) => ("Resting", "warn"),
        (None, None, 0) => ("Healthy", "ok"),
        (None, None, _) => ("Failing", "warn"),
    }
}

/// The types of events that it wants, in words.
pub(super) fn events(endpoint: &EndpointView) -> String {
    match endpoint.event_types.as_slice() {
        [all] if all == "*" => "all events".to_owned(),
        some => some.join(", "),
    }
}

/// The list, newest first.
pub(in crate::pages) async fn list(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let query = visit.query.only(&["before"])?;
    let before = query.parsed("before", "must be the id of an endpoint")?.map(EndpointId);
    let found = endpoints::list(&visit.site.pool, Scope::All, before, SHOWN + 1).await;
    let mut found = found.map_err(refused)?;
    let has_more = found.len() > usize::from(SHOWN);
    found.truncate(SHOWN.into());
    let older = found.last().filter(|_| has_more).map(|last| format!("{PATH}?before={}", last.id));
    Answer::page(&EndpointsPage {
        frame: visit.frame("Endpoints"),
        rows: found.into_iter().map(Row::from).collect(),
        pager: Pager { newest: before.map(|_| PATH.to_owned()), older },
    })
}
