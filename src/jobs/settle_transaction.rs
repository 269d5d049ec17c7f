//! Stub, until the handler lands.

use serde::{Deserialize, Serialize};

use super::JobState;
use crate::ids::TransactionId;
use crate::queue::context::{Completed, JobContext};
use crate::queue::job::{Job, JobError};

/// Settles a transaction.
#[derive(Serialize, Deserialize, Debug)]
pub struct SettleTransaction {
    /// Which one.
    pub transaction: TransactionId,
}

impl Job for SettleTransaction {
    const KIND: &'static str = "settle_transaction";
    type State = JobState;

    async fn run(self, _state: &JobState, cx: JobContext) -> Result<Completed, JobError> {
        cx.complete_without_effects().await
    }
}
