//! Invariants of orders and the jobs that execute them.
//!
//! Arguments are compared as text, or looked at before they are taken for an id: those of a job
//! that could not be read are here, too.

use super::{Invariant, Recent, Weight};

/// The invariants of orders and their jobs.
pub(super) const INVARIANTS: &[Invariant] = &[
    ONE_JOB_EACH,
    JOBS_HAVE_ORDERS,
    UNFINISHED_HAVE_A_JOB,
    FINISHED_HAVE_A_FINISHED_JOB,
    NONE_WAITS_FOR_AN_OPERATOR,
];

/// Protects G1 and G3: what was taken is executed, by one job.
///
/// Retention drops finished jobs by age, never orders. A job finishes after its order was given, so
/// that of an order which was given since all finished jobs are kept must be there.
const ONE_JOB_EACH: Invariant = Invariant {
    name: "orders-have-one-execute-job",
    claim: "every order has exactly one job that executes it",
    protects: "G1, G3",
    hint: "look at queue.all_jobs by args ->> 'order'; who wrote order or job alone?",
    weight: Weight::Guarantee,
    violations: "
        with kept as materialized (
          select
            greatest(
              coalesce(queue.kept_since('queue.finished_jobs_completed'), 'infinity'),
              coalesce(queue.kept_since('queue.finished_jobs_cancelled'), 'infinity'),
              coalesce(queue.kept_since('queue.finished_jobs_discarded'), 'infinity')
            ) as since
        )
        select format('%s %s', given.kind, given.id)
        from payments.orders as given
        cross join kept
        left join (
          select
            args ->> 'order' as order_id,
            -- Another may take the place of one that was given up, which did nothing.
            count(*) filter (where state is distinct from 'discarded') as jobs
          from (
            select args, null as state from queue.jobs
            where kind in ('execute_bank_order', 'execute_transfer')
            union all
            select args, state::text from queue.finished_jobs
            where kind in ('execute_bank_order', 'execute_transfer')
              /*new and finished_at >= {since} new*/
          ) as job
          group by 1
        ) as execute_jobs on execute_jobs.order_id = given.id::text
        where (
            execute_jobs.jobs > 1
            or (execute_jobs.jobs is null and given.created_at >= kept.since)
          )
          /*new and given.id >= {since_id} new*/",
    recent: Recent::Same,
};

/// Protects G1 from the other side: job and order are written by one commit, and a transfer never
/// goes to the bank.
const JOBS_HAVE_ORDERS: Invariant = Invariant {
    name: "execute-jobs-have-their-order",
    claim: "every job that executes an order has one of its kind",
    protects: "G3",
    hint: "enqueued by hand? Then 'app dead-letters write-off <job>' ends the matter",
    weight: Weight::Guarantee,
    // What was written off or cancelled is over: it did nothing, and somebody has looked at it.
    violations: "
        select format('job %s (%s)', job.id, job.kind)
        from (
          select id, kind, args from queue.jobs
          where kind in ('execute_bank_order', 'execute_transfer')
          union all
          select id, kind, args
          from queue.finished_jobs as finished
          where kind in ('execute_bank_order', 'execute_transfer')
            /*new and finished_at >= {since} new*/
            and state <> 'cancelled'
            and not exists (
              select from queue.resolutions as decided
              where decided.job_id = finished.id and decided.attempt = finished.attempt
                and decided.resolution = 'dismissed'
            )
        ) as job
        left join payments.orders as given
          -- By the index; a text that is no id has no order.
          on given.id = case
              when job.args ->> 'order' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                then (job.args ->> 'order')::uuid
            end
            and (given.kind in ('deposit', 'withdrawal')) = (job.kind = 'execute_bank_order')
        where given.id is null",
    recent: Recent::Same,
};

/// Protects G1 and users: what is taken is done, and money is not held for an order that nobody
/// will execute. A discarded job counts for as long as an operator can still decide over it.
const UNFINISHED_HAVE_A_JOB: Invariant = Invariant {
    name: "unfinished-orders-have-a-job",
    claim: "every unfinished order has a job that is waiting, running or discarded",
    protects: "G1, G7",
    hint: "did a job finish, or was it dismissed, without its order's outcome in the same commit? \
           it is executed, and moves money once only, by: app jobs enqueue execute_bank_order (or \
           execute_transfer) '{\"order\": \"ID\"}'",
    weight: Weight::Guarantee,
    violations: "
        select format('%s %s', given.kind, given.id)
        from payments.orders as given
        left join (
          select args ->> 'order' as order_id from queue.jobs
          where kind in ('execute_bank_order', 'execute_transfer')
          union
          select args -> 'args' ->> 'order' from queue.jobs where kind = 'resolve_bank_order'
          union
          select discarded.args ->> 'order'
          from queue.finished_jobs as discarded
          left join queue.resolutions as dismissed
            on dismissed.job_id = discarded.id
              and dismissed.attempt = discarded.attempt
              and dismissed.resolution = 'dismissed'
          where discarded.kind in ('execute_bank_order', 'execute_transfer')
            and discarded.state = 'discarded'
            and dismissed.job_id is null
        ) as job on job.order_id = given.id::text
        where given.status in ('PENDING', 'PROCESSING')
          and job.order_id is null
          /*new and given.id >= {since_id} new*/",
    recent: Recent::Same,
};

/// Protects G3: the outcome and the job's completion are one commit.
///
/// But where a discarded job was run again while the job that enquires at the bank was about to
/// finish the order: whichever of the two comes last has nothing left to do.
const FINISHED_HAVE_A_FINISHED_JOB: Invariant = Invariant {
    name: "finished-orders-have-no-unfinished-job",
    claim: "no COMPLETED or FAILED order has a job that is still to execute it",
    protects: "G3",
    hint: "did somebody write the outcome, or enqueue the job again, by hand?",
    weight: Weight::Guarantee,
    violations: "
        select format('job %s of %s %s', job.id, given.kind, given.id)
        from queue.jobs as job
        join payments.orders as given on given.id::text = job.args ->> 'order'
        where job.kind in ('execute_bank_order', 'execute_transfer')
          and given.status in ('COMPLETED', 'FAILED')
          and not exists (
            select from queue.all_jobs as resolving
            where resolving.kind = 'resolve_bank_order'
              and resolving.args -> 'args' ->> 'order' = job.args ->> 'order'
          )",
    recent: Recent::Same,
};

/// No guarantee, but money that nobody moves until somebody looks.
const NONE_WAITS_FOR_AN_OPERATOR: Invariant = Invariant {
    name: "no-order-waits-for-an-operator",
    claim: "no unfinished order's job was discarded with none left that sees to it",
    protects: "dead letters",
    hint: "queue.attempts says why each attempt failed; mend that, then run the job again",
    weight: Weight::Notice,
    violations: "
        select format('%s %s, job %s', given.kind, given.id, job.id)
        from queue.finished_jobs as job
        join payments.orders as given
          on given.id::text = coalesce(job.args ->> 'order', job.args -> 'args' ->> 'order')
        where job.kind in ('execute_bank_order', 'execute_transfer', 'resolve_bank_order')
          and job.state = 'discarded'
          and given.status in ('PENDING', 'PROCESSING')
          and not exists (
            select from queue.jobs as other
            where other.kind in ('execute_bank_order', 'execute_transfer', 'resolve_bank_order')
              and coalesce(other.args ->> 'order', other.args -> 'args' ->> 'order')
                = given.id::text
          )",
    recent: Recent::Same,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::{ExecuteBankOrder, ExecuteTransfer, ResolveBankOrder};
    use crate::queue::Job;

    #[test]
    fn they_look_at_the_kinds_that_execute() {
        let both = format!("kind in ('{}', '{}'", ExecuteBankOrder::KIND, ExecuteTransfer::KIND);
        for invariant in INVARIANTS {
            assert!(invariant.violations.contains(&both), "{}", invariant.name);
        }
        for invariant in [UNFINISHED_HAVE_A_JOB, FINISHED_HAVE_A_FINISHED_JOB] {
            let resolving = format!("kind = '{}'", ResolveBankOrder::KIND);
            assert!(invariant.violations.contains(&resolving), "{}", invariant.name);
        }
    }
}
