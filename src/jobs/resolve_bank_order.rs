//! Finds out what became of a deposit or withdrawal whose job was given up.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::execute_bank_order::{
    ExecuteBankOrder, Intent, ask, complete, fail, leave_to_operator, post, undecided,
    without_bank, write_intent,
};
use super::execute_transfer::MissingOrder;
use super::{Bank, Services, dead_letters};
use crate::bank::call_log::{self, CallId, CallOperation};
use crate::bank::{EffectKey, PaymentStatus, Receipt};
use crate::payments::orders::{self, Order, Status};
use crate::queue::operate::discarded::{self, Decision, Resolved};
use crate::queue::{Backoff, Committed, Job, JobContext, JobError, JobId, RunTransaction};

/// The failure reason of an order that the bank could not be brought to execute. It is final, as
/// every failure is: its owner was told, and may have paid another way.
pub const BANK_UNAVAILABLE: &str = "bank-unavailable";

/// Brings an order whose [`ExecuteBankOrder`] was discarded to its outcome: by what we know, if the
/// bank cannot have acted, and otherwise by asking the bank for as long as it takes. It never
/// sends.
///
/// So an order that was given up holds no money longer than nobody knows where it is. That the bank
/// does not know the order counts only when nothing that was sent can be on its way to it any more
/// ([`call_log::on_its_way`]): else it would book what we have failed. Should it do so after all,
/// the reconciliation shows it, and people have to agree what is to be done.
///
/// Once an operator has decided over the discarded job, the order is no longer this job's: it ends
/// and leaves the order as it is, even if it has just learnt what became of it. Only that the bank
/// booked what has failed is told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ResolveBankOrder {
    /// The job that was discarded.
    pub job: JobId,
    /// The arguments of the job that was discarded.
    pub args: ExecuteBankOrder,
}

impl Job for ResolveBankOrder {
    const KIND: &'static str = "resolve_bank_order";
    const QUEUE: &'static str = "bank";
    /// At an hour each, about a month.
    const MAX_ATTEMPTS: i16 = 800;
    const TIMEOUT: Duration = ExecuteBankOrder::TIMEOUT;
    const BACKOFF: Backoff = Backoff { base: Duration::from_secs(15), ..Backoff::DEFAULT };
    type State = Services;

    async fn run(self, state: &Services, cx: JobContext) -> Result<Committed, JobError> {
        let id = self.args.order;
        let Some(bank) = &state.bank else { return Err(without_bank()) };
        let mut conn = state.pool.acquire().await?;
        let order = orders::find(&mut conn, id)
            .await?
            .ok_or_else(|| JobError::discard(MissingOrder(id)))?;
        if order.is_finished() || !dead_letters::is_open(&mut conn, self.job).await? {
            return cx.complete_without_effects().await;
        }
        let key = EffectKey::of_order(id);
        let sent = call_log::on_its_way(&mut conn, &key, None, bank.lost_after).await?;
        drop(conn);
        match sent {
            None => self.give_up(bank, None, cx).await,
            Some(_) => self.enquire(order, bank, state, cx).await,
        }
    }
}

impl ResolveBankOrder {
    async fn enquire(
        self,
        order: Order,
        bank: &Bank,
        state: &Services,
        cx: JobContext,
    ) -> Result<Committed, JobError> {
        let (intent, status) = ask(bank, state, intend(order, &cx)).await?;
        match status {
            PaymentStatus::Booked(receipt) => self.settle(&intent, receipt, cx).await,
            PaymentStatus::Declined { reason } => self.fail(&reason, cx).await,
            PaymentStatus::Pending => Err(undecided(&intent, state).await),
            PaymentStatus::Unknown => self.give_up(bank, Some(intent.call), cx).await,
        }
    }

    /// Posts what the bank has booked, which leaves an operator nothing to decide.
    async fn settle(
        self,
        intent: &Intent,
        receipt: Receipt,
        cx: JobContext,
    ) -> Result<Committed, JobError> {
        let (mut tx, order) = self.lock(&cx).await?;
        if order.status != Status::Failed && !dead_letters::is_open(&mut tx, self.job).await? {
            return cx.complete(tx).await;
        }
        match post(&mut tx, intent, receipt).await? {
            Ok(()) => {
                self.close_dead_letter(&mut tx, "the bank has booked it").await?;
                complete(cx, tx, order.id).await
            }
            Err(contradiction) => leave_to_operator(cx, tx, contradiction).await,
        }
    }

    /// Fails what the bank has declined, which leaves an operator nothing to decide.
    async fn fail(self, reason: &str, cx: JobContext) -> Result<Committed, JobError> {
        let (mut tx, order) = self.lock(&cx).await?;
        if order.is_finished() || !dead_letters::is_open(&mut tx, self.job).await? {
            return cx.complete(tx).await;
        }
        self.close_dead_letter(&mut tx, "the bank has declined it").await?;
        fail(cx, tx, order.id, reason).await
    }

    /// Fails an order that the bank did not know when it was asked by the call `unknown_to`, or
    /// that it never got, unless something may be on its way. That is final, and leaves an operator
    /// nothing to decide.
    async fn give_up(
        self,
        bank: &Bank,
        unknown_to: Option<CallId>,
        cx: JobContext,
    ) -> Result<Committed, JobError> {
        let (mut tx, order) = self.lock(&cx).await?;
        if order.is_finished() || !dead_letters::is_open(&mut tx, self.job).await? {
            return cx.complete(tx).await;
        }
        // With the order locked, as it is by a send's intent: the job may have been redriven, and
        // discarded again, while we asked.
        let key = EffectKey::of_order(order.id);
        let on_its_way = call_log::on_its_way(&mut tx, &key, unknown_to, bank.lost_after).await?;
        if let Some(delay) = on_its_way {
            let reason = "the bank does not know of it, but it may still be on its way there";
            return Err(JobError::snooze_because(delay, reason));
        }
        self.close_dead_letter(&mut tx, "the bank never executed it, and the order failed").await?;
        fail(cx, tx, order.id, BANK_UNAVAILABLE).await
    }

    /// The order, locked first, as by everybody who decides over its dead letter.
    async fn lock(&self, cx: &JobContext) -> Result<(RunTransaction, Order), JobError> {
        let id = self.args.order;
        let mut tx = cx.begin().await?;
        let order = orders::find_locked(&mut tx, id).await?;
        Ok((tx, order.ok_or_else(|| JobError::discard(MissingOrder(id)))?))
    }

    async fn close_dead_letter(
        &self,
        conn: &mut PgConnection,
        reason: &str,
    ) -> Result<(), JobError> {
        let decision = Decision { by: Self::KIND, reason };
        // Not open when retention has dropped it.
        let (Resolved::Done | Resolved::NotOpen) =
            discarded::dismiss(conn, self.job, decision).await?;
        Ok(())
    }
}

/// Commits the record that the bank is about to be asked what became of the order.
async fn intend(order: Order, cx: &JobContext) -> Result<Intent, JobError> {
    let mut tx = cx.begin().await?;
    cx.require_lease(&mut tx).await?;
    let intent = write_intent(&mut tx, CallOperation::Enquire, order).await?;
    tx.commit().await?;
    Ok(intent)
}
