//! Readers of events that have stopped to read: whatever they have not taken is kept for them.

use sqlx::PgConnection;

use crate::events::pruning::waiting_readers;
use crate::queue::health::{Finding, Level, look, span};

const READERS: &str = "event-readers";
/// A relay that was stopped for a weekend is none to be forgotten.
const WAITS_LONG_SECS: f64 = 7.0 * 86_400.0;
/// More are not told.
const MAX_READERS: u16 = 20;

pub(super) async fn examine(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    look(conn, READERS, readers).await
}

async fn readers(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let now = crate::operations::database_now(&mut *conn).await?;
    let waiting = waiting_readers(conn, MAX_READERS).await?;
    let findings: Vec<Finding> = waiting
        .iter()
        .map(|reader| (reader, (now - reader.since).as_seconds_f64()))
        .filter(|(_, secs)| *secs > WAITS_LONG_SECS)
        .map(|(reader, secs)| {
            Finding::new(
                READERS,
                Level::Warn,
                format!(
                    "the reader {} has not taken an event of {} ago: events are kept for it, \
                     whatever the retention says",
                    reader.name,
                    span(secs)
                ),
                "start what reads for it, workers or app relay; a relay that is gone for good is \
                 forgotten by deleting its row in events.readers",
            )
        })
        .collect();
    match findings.is_empty() {
        true => Ok(vec![Finding::ok(READERS, "no reader of events keeps old ones")]),
        false => Ok(findings),
    }
}
