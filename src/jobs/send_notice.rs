//! Tells a user by mail what happened to something of theirs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Services;
use super::mail_delivery::{self, Delivery, Recipient};
use crate::ids::{EventId, UserId};
use crate::notices::templates;
use crate::notices::{MailKey, Subject, SubjectKind};
use crate::queue::{Backoff, Committed, Job, JobContext, JobError};

/// Sends the mail about one happening to one user.
///
/// Enqueued once, in the database transaction that makes it happen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SendNotice {
    /// The address of the recipient.
    pub email: String,
    /// The happening.
    pub notice: Notice,
    /// The id of the happening: with the user, the effect key.
    pub event: EventId,
    /// The recipient, whose wish for mail is looked up when the job runs.
    pub user: UserId,
}

/// A happening.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Notice {
    /// An endpoint was disabled, because it has failed for too long.
    EndpointDisabled {
        /// The endpoint.
        id: String,
        /// The URL of the endpoint, which may hold a secret of its owner's.
        url: String,
        /// The time since the first of the failures, in seconds.
        failed_for_secs: u64,
        /// The latest failure, in words.
        last_error: Option<String>,
    },
}

impl SendNotice {
    /// The job that tells `to`, the owner, of the event `event`: the endpoint `id` at `url` was
    /// disabled after it had failed for `failed_for`, the last time with `last_error`.
    pub fn endpoint_disabled(
        event: EventId,
        to: Recipient,
        id: String,
        url: String,
        failed_for: Duration,
        last_error: Option<String>,
    ) -> Self {
        let failed_for_secs = failed_for.as_secs();
        let notice = Notice::EndpointDisabled { id, url, failed_for_secs, last_error };
        Self { email: to.email, notice, event, user: to.user }
    }
}

impl Job for SendNotice {
    const KIND: &'static str = "send_notice";
    const QUEUE: &'static str = mail_delivery::QUEUE;
    const MAX_ATTEMPTS: i16 = mail_delivery::MAX_ATTEMPTS;
    const TIMEOUT: Duration = mail_delivery::TIMEOUT;
    const BACKOFF: Backoff = mail_delivery::BACKOFF;
    const REDACTED: &'static [&'static str] = &["email", "notice.url", "notice.last_error"];
    type State = Services;

    async fn run(self, state: &Services, cx: JobContext) -> Result<Committed, JobError> {
        let Notice::EndpointDisabled { id, url, failed_for_secs, last_error } = self.notice;
        let failed_for = Duration::from_secs(failed_for_secs);
        let content = templates::endpoint_disabled(&id, &url, failed_for, last_error.as_deref())?;
        let about = Subject { kind: SubjectKind::Endpoint, id };
        let key = MailKey { event: self.event, user: self.user };
        Delivery { key, about: &about, email: &self.email }.run(content, state, cx).await
    }
}
