//! Tells of an endpoint that was disabled without anybody having asked for it: the audit log, and
//! the owner by mail, since by webhook nobody would hear of it.

use std::time::Duration;

use serde_json::json;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::audit::{self, NewEntry, Subject};
use crate::deliveries::endpoints::{self, DisabledReason, Endpoint, Scope};
use crate::ids::{EndpointId, EventId};
use crate::jobs::{SendNotice, mail_delivery};
use crate::queue::{JobError, NewJob, enqueue};

/// The actor in the audit log.
const BY: &str = "job:deliver_webhook";

/// Writes and enqueues what tells of it, to be committed with the change.
pub(super) async fn tell(
    conn: &mut PgConnection,
    id: EndpointId,
    reason: DisabledReason,
    last_failure: Option<String>,
) -> Result<(), JobError> {
    let entry = NewEntry::new(BY, "endpoint.disable", Subject::new("endpoint", id));
    let entry = entry.data(&json!({ "reason": reason.code(), "last_failure": last_failure }));
    audit::record(&mut *conn, &[entry]).await?;
    let Some(endpoint) = endpoints::find(&mut *conn, Scope::All, id).await? else { return Ok(()) };
    // That it wants no more, the owner has said by it.
    let Some(owner) = endpoint.owner.filter(|_| reason == DisabledReason::Failing) else {
        return Ok(());
    };
    for recipient in mail_delivery::recipients(&mut *conn, &[owner]).await? {
        let notice = SendNotice::endpoint_disabled(
            EventId(Uuid::now_v7()),
            recipient,
            id.to_string(),
            endpoint.settings.url.clone(),
            failed_for(&endpoint),
            last_failure.clone(),
        );
        enqueue(&mut *conn, NewJob::new(&notice)?).await?;
    }
    Ok(())
}

/// The time from the first failure to the end, both by the database's clock.
fn failed_for(endpoint: &Endpoint) -> Duration {
    let since: Option<OffsetDateTime> = endpoint.failing_since;
    let until = endpoint.disabled_at;
    let lasted = since.zip(until).map(|(since, until)| until - since);
    lasted.and_then(|lasted| Duration::try_from(lasted).ok()).unwrap_or_default()
}
