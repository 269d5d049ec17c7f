//! The claims of a worker: jobs without a key by time, from all its queues by one statement; then,
//! queue by queue, those that have a key or whose queue has limits.

mod floor;
mod key_rest;
mod size;
mod statements;
mod unheard;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use uuid::Uuid;

pub(super) use statements::ClaimedJob;

use floor::ClaimFloors;
use key_rest::KeyRest;
use size::ClaimSize;
use statements::{ClaimByKeyRequest, ClaimRequest};
use unheard::Unheard;

use crate::QueueError;
use crate::deadline::within;
use crate::kept_connection::KeptConnection;
use crate::worker::slots::Rooms;

/// The server's statement timeout.
const QUERY_CANCELED: &str = "57014";

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
    key_rest: KeyRest,
    size: ClaimSize,
    unheard: Unheard,
}

/// The result of a claim from all queues.
#[derive(Default)]
pub(crate) struct Claimed {
    pub(crate) jobs: Vec<ClaimedJob>,
    /// The time after which to look again at the latest, because a rate allows more then.
    pub(crate) again_in: Option<Duration>,
    /// There are more jobs that may run now than there was room for.
    pub(crate) has_more: bool,
    /// The queues that have no slots left: there may be more in them.
    pub(crate) full: Vec<String>,
}

/// The room that is left in a claim.
#[derive(Clone, Debug)]
struct Room {
    slots: Rooms,
    bytes: usize,
}

impl Room {
    fn half(&self) -> Self {
        let jobs = self.slots.jobs.div_ceil(2);
        Self { slots: self.slots.clone().at_most(jobs), bytes: self.bytes.div_ceil(2) }
    }

    fn without(&self, jobs: &[ClaimedJob]) -> Self {
        let mut left = self.clone();
        for job in jobs {
            left.slots.take(&job.queue, job.may_take_own_slot);
            left.bytes = left.bytes.saturating_sub(job.bytes());
        }
        left
    }

    fn is_used_up(&self) -> bool {
        self.slots.jobs == 0 || self.bytes == 0
    }
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
            key_rest: KeyRest::new(),
            size: ClaimSize::largest(),
            unheard: Unheard::new(lease),
        }
    }

    /// Reads from the very start in the next claim: what another transaction has just committed
    /// must be found. Keys go on in their turn.
    pub(crate) fn forget_floors(&mut self, queues: &[String]) {
        self.floors = ClaimFloors::new(queues);
    }

    /// Claims as many jobs as there are slots for, or fewer if claims of late took too long, or the
    /// jobs are large. Jobs with and without a key get half of the room each while there are both.
    pub(crate) async fn claim(&mut self, slots: Rooms) -> Result<Claimed, QueueError> {
        self.hand_back_unheard().await;
        let room = Room { slots: slots.at_most(self.size.jobs()), bytes: self.size.bytes() };
        let mut claimed = Claimed::default();
        let result = self.claim_into(&mut claimed, &room).await;
        let left = room.without(&claimed.jobs).slots;
        // Jobs that take common slots only may have found none; the next claim sees who has them.
        claimed.has_more |= left.jobs == 0 || (left.common == 0 && room.slots.common > 0);
        claimed.full = left.full_queues().map(str::to_owned).collect();
        match result {
            Ok(()) => self.size.grow(),
            Err(error) => {
                if is_timeout(&error) {
                    self.size.halve();
                }
                // What was claimed before must be run.
                if claimed.jobs.is_empty() {
                    return Err(error);
                }
                tracing::warn!(error = %crate::chain(&error), "cannot claim more");
            }
        }
        Ok(claimed)
    }

    /// Hands back jobs of claims that were not answered, if there may be some. What fails is tried
    /// again by the next call.
    pub(crate) async fn hand_back_unheard(&mut self) {
        let Some(bounds) = self.unheard.bounds() else { return };
        let worker_id = self.worker_id;
        let hand_back = self.connection.with(async |connection| {
            statements::hand_back_unheard(connection, worker_id, &bounds).await
        });
        match within(hand_back).await {
            Ok(0) => {}
            Ok(jobs) => {
                tracing::warn!(jobs, "a claim was not answered in time: its jobs are handed back");
            }
            Err(error) => {
                let error = crate::chain(&error);
                tracing::debug!(error, "jobs of a claim without an answer are not handed back yet");
            }
        }
    }

    async fn claim_into(&mut self, claimed: &mut Claimed, room: &Room) -> Result<(), QueueError> {
        let began_at = Instant::now();
        if let Some(left) = self.key_rest.left_at(began_at) {
            self.claim_by_time(room.clone(), false, claimed).await?;
            claimed.again_in =
                Some(self.key_rest.left_at(began_at).map_or(Duration::ZERO, |_| left));
            return Ok(());
        }
        let result = self.claim_by_key_and_time(claimed, room).await;
        self.key_rest.observe_keys(began_at, Instant::now());
        result
    }

    async fn claim_by_key_and_time(
        &mut self,
        claimed: &mut Claimed,
        room: &Room,
    ) -> Result<(), QueueError> {
        // With one slot at a time, they take turns.
        self.keys_first = !self.keys_first;
        let mut emptied = Vec::new();
        // Each queue is first in turn.
        if !self.by_key.is_empty() {
            self.by_key.rotate_left(1);
        }
        if room.slots.jobs > 1 || self.keys_first {
            let queues = self.by_key.clone();
            if !self.claim_by_key(&queues, room.half(), claimed).await? {
                emptied = queues;
            }
        }
        let rest = room.without(&claimed.jobs);
        if !rest.is_used_up() {
            self.claim_by_time(rest, true, claimed).await?;
        }
        let rest = room.without(&claimed.jobs);
        if !rest.is_used_up() && !claimed.has_more {
            let queues = self.by_key.iter().filter(|queue| !emptied.contains(queue));
            let queues: Vec<String> = queues.cloned().collect();
            self.claim_by_key(&queues, rest, claimed).await?;
        }
        Ok(())
    }

    async fn claim_by_time(
        &mut self,
        room: Room,
        look_for_keys: bool,
        claimed: &mut Claimed,
    ) -> Result<(), QueueError> {
        let lanes = self.floors.lanes_to_claim();
        let request = ClaimRequest {
            lanes: &lanes,
            kinds: &self.kinds,
            slots: &room.slots,
            max_bytes: room.bytes,
            look_for_keys,
            worker_id: self.worker_id,
            lease: self.lease,
            take_xid: self.floors.wants_xid(),
            ignored_xid: self.floors.ignored_xid(),
        };
        self.unheard.send();
        let claim =
            self.connection.with(async |connection| statements::claim(connection, &request).await);
        let mut claim = within(claim).await?;
        self.unheard.hear(&claim.jobs);
        self.floors.observe(&claim, &room.without(&claim.jobs).slots);
        self.key_rest.observe_others(!claim.jobs.is_empty());
        if look_for_keys {
            self.by_key = std::mem::take(&mut claim.by_key);
        }
        claimed.has_more |= claim.is_cut;
        claimed.jobs.append(&mut claim.jobs);
        Ok(())
    }

    /// Tells whether the room was too small for all that may start in these queues.
    async fn claim_by_key(
        &mut self,
        queues: &[String],
        room: Room,
        claimed: &mut Claimed,
    ) -> Result<bool, QueueError> {
        let mut rest = room;
        let mut was_cut = false;
        for queue in queues {
            if rest.is_used_up() {
                break;
            }
            let max_jobs = rest.slots.of(queue);
            if max_jobs == 0 {
                continue;
            }
            let request = ClaimByKeyRequest {
                queue,
                kinds: &self.kinds,
                max_jobs,
                max_bytes: rest.bytes,
                worker_id: self.worker_id,
                lease: self.lease,
                after_key: self.after_keys.get(queue).map(String::as_str),
            };
            self.unheard.send();
            let claim =
                async |connection: &mut _| statements::claim_by_key(connection, &request).await;
            let mut claim = within(self.connection.with(claim)).await?;
            self.unheard.hear(&claim.jobs);
            match claim.turn {
                Some(key) => self.after_keys.insert(queue.clone(), key),
                None => self.after_keys.remove(queue),
            };
            rest = rest.without(&claim.jobs);
            was_cut |= claim.is_cut;
            claimed.jobs.append(&mut claim.jobs);
            claimed.again_in = earlier(claimed.again_in, claim.again_in);
        }
        claimed.has_more |= was_cut;
        Ok(was_cut || rest.is_used_up())
    }
}

/// Tells whether there was not enough time for an answer, which a smaller one may have: it was
/// given up here or by the server.
fn is_timeout(error: &QueueError) -> bool {
    match error {
        QueueError::Database(sqlx::Error::Io(error)) => {
            error.kind() == std::io::ErrorKind::TimedOut
        }
        QueueError::Database(sqlx::Error::Database(error)) => {
            error.code().as_deref() == Some(QUERY_CANCELED)
        }
        _ => false,
    }
}

fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
