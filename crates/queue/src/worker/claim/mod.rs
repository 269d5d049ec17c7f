//! The claims of a worker: jobs without a key by time, from all its queues by one statement; then,
//! queue by queue, those that have a key or whose queue has limits.

mod floor;
mod statements;

use std::collections::HashMap;
use std::time::Duration;

use sqlx::PgPool;
use uuid::Uuid;

pub(super) use statements::ClaimedJob;

use floor::ClaimFloors;
use statements::{ClaimByKeyRequest, ClaimRequest};

use crate::QueueError;
use crate::deadline::within;
use crate::kept_connection::KeptConnection;

/// The position of a worker in its turns.
pub(crate) struct ClaimTurns {
    connection: KeptConnection,
    worker_id: Uuid,
    kinds: Vec<String>,
    lease: Duration,
    floors: ClaimFloors,
    /// The queues to claim from by key, as the last claim by time told.
    by_key: Vec<String>,
    /// After which key the next claim from a queue goes on.
    after_keys: HashMap<String, String>,
    keys_first: bool,
}

/// The result of a claim from all queues.
pub(crate) struct Claimed {
    pub(crate) jobs: Vec<ClaimedJob>,
    /// The time after which to look again at the latest, because a rate allows more then.
    pub(crate) again_in: Option<Duration>,
}

impl ClaimTurns {
    pub(crate) fn new(
        pool: PgPool,
        worker_id: Uuid,
        queues: &[String],
        kinds: Vec<String>,
        lease: Duration,
    ) -> Self {
        Self {
            connection: KeptConnection::of(pool),
            worker_id,
            kinds,
            lease,
            floors: ClaimFloors::new(queues),
            by_key: Vec::new(),
            after_keys: HashMap::new(),
            keys_first: false,
        }
    }

    /// Reads from the very start in the next claim: what another transaction has just committed
    /// must be found. Keys go on in their turn.
    pub(crate) fn forget_floors(&mut self, queues: &[String]) {
        self.floors = ClaimFloors::new(queues);
    }

    /// Claims up to `limit` jobs. Jobs with and without a key get half of them each while there
    /// are both.
    pub(crate) async fn claim(&mut self, limit: usize) -> Result<Claimed, QueueError> {
        let mut claimed = Claimed { jobs: Vec::new(), again_in: None };
        match self.claim_into(&mut claimed, limit).await {
            // What was claimed before must be run.
            Err(error) if !claimed.jobs.is_empty() => {
                tracing::warn!(error = %crate::chain(&error), "cannot claim more");
                Ok(claimed)
            }
            Err(error) => Err(error),
            Ok(()) => Ok(claimed),
        }
    }

    async fn claim_into(&mut self, claimed: &mut Claimed, limit: usize) -> Result<(), QueueError> {
        // With one slot at a time, they take turns.
        self.keys_first = !self.keys_first;
        if !self.by_key.is_empty() && (limit > 1 || self.keys_first) {
            self.claim_by_key(limit.div_ceil(2), claimed).await?;
        }
        let rest = limit.saturating_sub(claimed.jobs.len());
        if rest > 0 {
            self.claim_by_time(rest, claimed).await?;
        }
        let rest = limit.saturating_sub(claimed.jobs.len());
        if rest > 0 {
            self.claim_by_key(rest, claimed).await?;
        }
        Ok(())
    }

    async fn claim_by_time(
        &mut self,
        limit: usize,
        claimed: &mut Claimed,
    ) -> Result<(), QueueError> {
        let lanes = self.floors.lanes_to_claim();
        let request = ClaimRequest {
            lanes: &lanes,
            kinds: &self.kinds,
            limit,
            worker_id: self.worker_id,
            lease: self.lease,
            take_xid: self.floors.wants_xid(),
            ignored_xid: self.floors.ignored_xid(),
        };
        let claim =
            self.connection.with(async |connection| statements::claim(connection, &request).await);
        let mut claim = within(claim).await?;
        self.floors.observe(&claim, limit);
        self.by_key = std::mem::take(&mut claim.by_key);
        claimed.jobs.append(&mut claim.jobs);
        Ok(())
    }

    async fn claim_by_key(
        &mut self,
        limit: usize,
        claimed: &mut Claimed,
    ) -> Result<(), QueueError> {
        let mut rest = limit;
        // Each queue is first in turn.
        if !self.by_key.is_empty() {
            self.by_key.rotate_left(1);
        }
        for queue in &self.by_key {
            if rest == 0 {
                break;
            }
            let request = ClaimByKeyRequest {
                queue,
                kinds: &self.kinds,
                limit: rest,
                worker_id: self.worker_id,
                lease: self.lease,
                after_key: self.after_keys.get(queue).map(String::as_str),
            };
            let claim =
                async |connection: &mut _| statements::claim_by_key(connection, &request).await;
            let mut claim = within(self.connection.with(claim)).await?;
            match claim.turn {
                Some(key) => self.after_keys.insert(queue.clone(), key),
                None => self.after_keys.remove(queue),
            };
            rest = rest.saturating_sub(claim.jobs.len());
            claimed.jobs.append(&mut claim.jobs);
            claimed.again_in = earlier(claimed.again_in, claim.again_in);
        }
        Ok(())
    }
}

fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
