//! Invariants of deliveries and the jobs that make them.

use super::{Invariant, Recent, Weight};

/// The invariants of deliveries.
pub(super) const INVARIANTS: &[Invariant] = &[PENDING_HAVE_A_JOB];

/// Protects the promise to endpoints: what is pending will be tried. Whoever ends a job by the
/// queue's functions ends its delivery, too; a row that was deleted by hand does not.
const PENDING_HAVE_A_JOB: Invariant = Invariant {
    name: "pending-deliveries-have-a-job",
    claim: "every pending delivery has a job that will try it",
    protects: "what endpoints are promised",
    hint: "somebody has deleted its job: set it to failed, then ask for it again",
    weight: Weight::Notice,
    violations: "
        select format('event %s for endpoint %s', delivery.event_seq, delivery.endpoint_id)
        from deliveries.deliveries as delivery
        where delivery.state = 'pending'
          and not exists (
            select from queue.jobs
            where jobs.kind in ('deliver_webhook', 'deliver_webhook_in_order')
              and jobs.args ->> 'event' = delivery.event_seq::text
              and jobs.args ->> 'endpoint' = delivery.endpoint_id::text
          )",
    // One of long ago can have lost its job a moment ago.
    recent: Recent::LeftOut,
};
