//! Tells a user by mail what became of a transaction or order.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Services;
use super::mail_delivery::{self, Delivery, Recipient};
use crate::ids::{EventId, UserId};
use crate::money::{Amount, AmountError, Currency, Money, MoneyError};
use crate::notices::templates::{self, Outcome};
use crate::notices::{MailKey, Subject};
use crate::queue::{Backoff, Committed, Job, JobContext, JobError};

/// Sends the mail about one outcome to one user.
///
/// Enqueued once per event and recipient, in the database transaction that commits the event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SendTransactionEmail {
    /// The address of the recipient.
    pub email: String,
    /// The amount as text, with the decimals of the currency.
    pub amount: String,
    /// The code of the currency.
    pub currency: String,
    /// The outcome.
    pub status: EmailStatus,
    /// The reason of a failure, as a code; none otherwise, or if none is known.
    pub reason: Option<String>,
    /// The transaction or order.
    pub about: Subject,
    /// The event: with the user, the effect key.
    pub event: EventId,
    /// The recipient, whose wish for mail is looked up when the job runs.
    pub user: UserId,
}

/// The outcome that a mail tells of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum EmailStatus {
    /// The money was moved.
    Completed,
    /// Nothing was booked.
    Failed,
}

impl SendTransactionEmail {
    /// The job that tells `to` of `event`: what became of `about`, an amount of `money`.
    pub fn new(
        event: EventId,
        to: Recipient,
        about: Subject,
        money: Money,
        outcome: Outcome,
    ) -> Self {
        let (status, reason) = match outcome {
            Outcome::Completed => (EmailStatus::Completed, None),
            Outcome::Failed { reason } => (EmailStatus::Failed, reason),
        };
        Self {
            email: to.email,
            amount: money.amount_text(),
            currency: money.currency().code().to_owned(),
            status,
            reason,
            about,
            event,
            user: to.user,
        }
    }

    fn money(&self) -> Result<Money, InvalidMoney> {
        let currency = Currency::from_stored(&self.currency).map_err(MoneyError::NotACurrency)?;
        Ok(Money::new(Amount::parse(&self.amount)?, currency)?)
    }
}

/// The arguments are not those that [`SendTransactionEmail::new`] makes.
#[derive(Debug, thiserror::Error)]
#[error("the arguments hold no amount of money")]
enum InvalidMoney {
    Amount(#[from] AmountError),
    Money(#[from] MoneyError),
}

impl Job for SendTransactionEmail {
    const KIND: &'static str = "send_transaction_email";
    const QUEUE: &'static str = mail_delivery::QUEUE;
    const PRIORITY: i16 = 3;
    const MAX_ATTEMPTS: i16 = mail_delivery::MAX_ATTEMPTS;
    const TIMEOUT: Duration = mail_delivery::TIMEOUT;
    const BACKOFF: Backoff = mail_delivery::BACKOFF;
    const REDACTED: &'static [&'static str] = &["email"];
    type State = Services;

    async fn run(self, state: &Services, cx: JobContext) -> Result<Committed, JobError> {
        let money = self.money().map_err(JobError::discard)?;
        let outcome = match self.status {
            EmailStatus::Completed => Outcome::Completed,
            EmailStatus::Failed => Outcome::Failed { reason: self.reason },
        };
        let content = templates::transaction(&self.about, money, &outcome)?;
        let key = MailKey { event: self.event, user: self.user };
        Delivery { key, about: &self.about, email: &self.email }.run(content, state, cx).await
    }
}
