//! The overview: whether anybody has to do something, and how the work goes.

use std::sync::Arc;

use askama::Template;

use super::queues::QueueRow;
use crate::operations::queues;
use crate::pages::frame::Frame;
use crate::pages::refusals::Refusal;
use crate::pages::visit::{Answer, Visit};

#[derive(Template)]
#[template(path = "overview.html", config = "src/pages/askama.toml")]
struct OverviewPage {
    frame: Frame,
    rows: Vec<QueueRow>,
}

/// The overview.
pub(in crate::pages) async fn show(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let mut conn = visit.connect().await?;
    let listed = queues::list(&mut conn).await?;
    let row = |queue| QueueRow::new(queue, listed.as_of);
    Answer::page(&OverviewPage {
        frame: visit.frame("Overview"),
        rows: listed.queues.into_iter().map(row).collect(),
    })
}
