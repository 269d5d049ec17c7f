//! Reads what attempts need, for all that ask at the same moment by one statement.

use std::collections::{BTreeSet, HashMap};

use sqlx::PgPool;

use crate::deliveries::outgoing::{self, DeliveryKey, Outgoing};
use crate::queue::JobError;
use crate::queue::batcher::{Batcher, Limits, Processor, Request};
use crate::queue::deadline::within;

const LIMITS: Limits = Limits { waiting: 2048, batch: 256 };

/// A handle on the loader's task, which ends with the last handle.
#[derive(Clone, Debug)]
pub(super) struct Loader(Batcher<DeliveryKey, Option<Outgoing>>);

impl Loader {
    pub(super) fn start(pool: PgPool) -> Self {
        let (batcher, mut task) = Batcher::start(LIMITS, [Loading { pool }]);
        task.detach_all();
        Self(batcher)
    }

    /// The delivery with all that an attempt of it needs; none when there is no such delivery.
    pub(super) async fn load(&self, key: DeliveryKey) -> Result<Option<Outgoing>, JobError> {
        let loaded = self.0.ask(key).await;
        loaded.map_err(|_| JobError::from(anyhow::anyhow!("the delivery could not be read")))
    }
}

struct Loading {
    pool: PgPool,
}

impl Processor for Loading {
    type Item = DeliveryKey;
    type Answer = Option<Outgoing>;

    async fn process(&mut self, requests: Vec<Request<DeliveryKey, Option<Outgoing>>>) {
        // A key may be there twice: from a run that lost its lease, and from the next one.
        let keys: BTreeSet<DeliveryKey> = requests.iter().map(|request| request.item).collect();
        let keys: Vec<DeliveryKey> = keys.into_iter().collect();
        let loaded = within(async {
            let mut conn = self.pool.acquire().await?;
            outgoing::load(&mut conn, &keys).await
        });
        let loaded: Vec<Outgoing> = match loaded.await {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::warn!(%error, deliveries = keys.len(), "deliveries could not be read");
                return;
            }
        };
        let loaded: HashMap<DeliveryKey, Outgoing> =
            loaded.into_iter().map(|outgoing| (outgoing.key, outgoing)).collect();
        for request in requests {
            let found = loaded.get(&request.item).cloned();
            request.answer(found);
        }
    }
}
