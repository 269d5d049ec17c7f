//! Steps that all mails have in common, and whom mails go to.
//!
//! A mail is sent between two looks at the database: before, whether it was sent already and is
//! still wanted; after, the record of what became of it, together with the end of the job. Between
//! the mail server's word and that commit a crash has it sent once more, with the same
//! `Message-ID` (G6).
//!
//! - Taken, or not wanted any more: the job is completed.
//! - Refused for good, as by a mailbox that does not exist: recorded, and the job is completed, as
//!   there is nothing in it for an operator to decide.
//! - Mail server in trouble: tried again over more than a day (`BACKOFF`), and discarded after
//!   that, to be redriven once the trouble is over.
//! - No mail server set: recorded as that and completed. Who has none would gather jobs for ever,
//!   and who sets one up later would not want last month's mails to go out.

use std::time::Duration;

use sqlx::PgConnection;

use super::Services;
use crate::identity::{IdentityError, email};
use crate::ids::UserId;
use crate::notices::mails::{self, MailStatus, NewRecord};
use crate::notices::settings::LONGEST_SEND;
use crate::notices::templates::Content;
use crate::notices::{self, Mail, MailKey, SendError, Subject, preferences};
use crate::queue::{Backoff, Committed, JobContext, JobError};

/// The queue of mails.
pub(super) const QUEUE: &str = "mail";
/// More than a mail may wait for a connection and then take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(6 * 60);
const _: () = assert!(TIMEOUT.as_secs() > LONGEST_SEND.as_secs());
/// With [`BACKOFF`], at least 25 hours: a mail server that is down overnight, or for a day, costs
/// no mail.
pub(super) const MAX_ATTEMPTS: i16 = 16;
/// Half a minute, two, eight, half an hour, two hours, and four hours from then on, at most; 60 %
/// of that at least.
pub(super) const BACKOFF: Backoff = Backoff {
    base: Duration::from_secs(30),
    factor: 4,
    max: Duration::from_secs(4 * 60 * 60),
    jitter: 0.4,
};
/// The wait when all connections to the mail server are in use.
const BUSY_DELAY: Duration = Duration::from_secs(10);

/// A user who wants mail, and the address for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipient {
    /// The user.
    pub user: UserId,
    /// The address.
    pub email: String,
}

/// Those of these users who want mail and are not closed, with their addresses, in the order of
/// their ids. For whoever is about to enqueue mails, in that transaction.
///
/// # Errors
///
/// When the database refuses.
pub async fn recipients(
    conn: &mut PgConnection,
    users: &[UserId],
) -> Result<Vec<Recipient>, IdentityError> {
    let wanting = notices::recipients(conn, users).await?;
    let addresses = email::addresses(conn, &wanting).await?;
    Ok(addresses.into_iter().map(|(user, email)| Recipient { user, email }).collect())
}

/// A mail that a job is about to send.
pub(super) struct Delivery<'a> {
    pub(super) key: MailKey,
    pub(super) about: &'a Subject,
    pub(super) email: &'a str,
}

impl Delivery<'_> {
    /// Sends the mail, unless it was sent or is not wanted any more, and ends the job.
    pub(super) async fn run(
        &self,
        content: Content,
        state: &Services,
        cx: JobContext,
    ) -> Result<Committed, JobError> {
        let mut conn = state.pool.acquire().await?;
        if mails::is_sent(&mut conn, self.key).await? {
            return cx.complete_without_effects().await;
        }
        let wishes = preferences::find(&mut conn, self.key.user).await?;
        drop(conn);
        if !wishes.email_notifications {
            return self.complete(MailStatus::SwitchedOff, None, None, cx).await;
        }
        let Some(mailer) = &state.mailer else {
            return self.complete(MailStatus::NotConfigured, None, None, cx).await;
        };
        let message_id = mailer.message_id(self.key);
        let mail = Mail { key: self.key, to: self.email.to_owned(), content };
        match mailer.send(&mail).await {
            Ok(()) => self.complete(MailStatus::Sent, Some(&message_id), None, cx).await,
            Err(SendError::Refused(refusal)) => {
                tracing::warn!(message_id, "a mail was refused for good: {refusal}");
                let reason = Some(refusal.code());
                self.complete(MailStatus::Failed, Some(&message_id), reason, cx).await
            }
            Err(error @ SendError::Busy) => {
                let delay = BUSY_DELAY.mul_f64(0.5 + fastrand::f64());
                Err(JobError::snooze_because(delay, error.to_string()))
            }
            Err(error @ (SendError::Unavailable(_) | SendError::File(_))) => {
                match cx.is_last_attempt() {
                    true => self.give_up(error, &message_id, cx).await,
                    false => Err(error.into()),
                }
            }
        }
    }

    async fn complete(
        &self,
        status: MailStatus,
        message_id: Option<&str>,
        reason: Option<String>,
        cx: JobContext,
    ) -> Result<Committed, JobError> {
        let (event, user, attempt) = (self.key.event, self.key.user, cx.attempt());
        let mut tx = cx.begin().await?;
        let record = self.record(status, message_id, reason.as_deref(), attempt);
        mails::record(&mut tx, &record).await?;
        let committed = cx.complete(tx).await?;
        let status = status.as_str();
        tracing::info!(%event, %user, attempt, status, "mail of event {event}: {status}");
        Ok(committed)
    }

    /// Records that all attempts failed, and leaves the job to an operator.
    async fn give_up(
        &self,
        error: SendError,
        message_id: &str,
        cx: JobContext,
    ) -> Result<Committed, JobError> {
        let mut tx = cx.begin().await?;
        let reason = Some("mail-server-unavailable");
        let record = self.record(MailStatus::Failed, Some(message_id), reason, cx.attempt());
        mails::record(&mut tx, &record).await?;
        cx.discard(tx, error).await
    }

    fn record<'a>(
        &'a self,
        status: MailStatus,
        message_id: Option<&'a str>,
        reason: Option<&'a str>,
        attempts: i16,
    ) -> NewRecord<'a> {
        let (key, about, email) = (self.key, self.about, self.email);
        NewRecord { key, about, email, message_id, status, reason, attempts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_server_that_is_down_for_a_day_costs_no_mail() {
        let ceilings: Duration = (1..MAX_ATTEMPTS).map(|attempt| BACKOFF.ceiling(attempt)).sum();
        let shortest = ceilings.mul_f64(1.0 - BACKOFF.jitter);
        assert!(shortest > Duration::from_secs(24 * 60 * 60), "{shortest:?}");
    }
}
