//! Invariants of transactions and the jobs that settle them.

use super::{Invariant, Recent, Weight};

/// The invariants of transactions and their jobs.
pub(super) const INVARIANTS: &[Invariant] = &[
    ONE_JOB_EACH,
    JOBS_HAVE_TRANSACTIONS,
    PROCESSING_HAVE_A_JOB,
    SETTLED_HAVE_A_FINISHED_JOB,
    NONE_WAITS_FOR_AN_OPERATOR,
];

/// Protects G2, that an accepted webhook makes exactly one job, and G1, that what was answered with
/// 202 is done.
///
/// Retention drops finished jobs by age, never transactions. So a transaction that was settled
/// before the first day from which completed jobs are kept may be without one. Any later one, and
/// any that is not settled, may not.
const ONE_JOB_EACH: Invariant = Invariant {
    name: "transactions-have-one-settle-job",
    claim: "every accepted transaction has exactly one settle job",
    protects: "G1, G2",
    hint: "look at queue.all_jobs by args ->> 'transaction': who wrote transaction or job alone? \
           one without a job is settled by: app jobs enqueue settle_transaction \
           '{\"transaction\": ID}'",
    weight: Weight::Guarantee,
    violations: "
        with kept as materialized (
          select coalesce(queue.kept_since('queue.finished_jobs_completed'), 'infinity') as since
        )
        select format('transaction %s (%s)', transaction.id, transaction.transaction_id)
        from payments.transactions as transaction
        cross join kept
        left join (
          select
            (args -> 'transaction')::bigint as transaction_id,
            -- Another may take the place of one that was given up, which did nothing.
            count(*) filter (where state is distinct from 'discarded') as jobs
          from (
            select args, null as state from queue.jobs where kind = 'settle_transaction'
            union all
            select args, state::text from queue.finished_jobs where kind = 'settle_transaction'
            /*new and finished_at >= {since} new*/
          ) as job
          group by 1
        ) as settle_jobs on settle_jobs.transaction_id = transaction.id
        where (
            settle_jobs.jobs > 1
            or (
              settle_jobs.jobs is null
              and (transaction.processed_at < kept.since) is not true
            )
          )
          /*new and transaction.created_at >= {since} new*/",
    recent: Recent::Same,
};

/// Protects G2 from the other side: job and transaction are written by one commit.
const JOBS_HAVE_TRANSACTIONS: Invariant = Invariant {
    name: "settle-jobs-have-their-transaction",
    claim: "every settle job has its transaction",
    protects: "G2",
    hint: "enqueued by hand? Then 'app dead-letters write-off <job>' ends the matter",
    weight: Weight::Guarantee,
    // What was written off or cancelled is over: it did nothing, and somebody has looked at it.
    violations: "
        select format('job %s', job.id)
        from (
          select id, args from queue.jobs where kind = 'settle_transaction'
          union all
          select id, args
          from queue.finished_jobs as finished
          where kind = 'settle_transaction'
            /*new and finished_at >= {since} new*/
            and state <> 'cancelled'
            and not exists (
              select from queue.resolutions as decided
              where decided.job_id = finished.id and decided.attempt = finished.attempt
                and decided.resolution = 'dismissed'
            )
        ) as job
        left join payments.transactions as transaction
          on transaction.id = (job.args -> 'transaction')::bigint
        where transaction.id is null",
    recent: Recent::Same,
};

/// Protects G1 and G3: what is not settled yet will be, unless an operator has to decide.
const PROCESSING_HAVE_A_JOB: Invariant = Invariant {
    name: "processing-transactions-have-a-job",
    claim: "every PROCESSING transaction has a settle job that is waiting, running or discarded",
    protects: "G1, G3",
    hint: "did a job finish without its transaction's outcome in the same commit? it is settled \
           by: app jobs enqueue settle_transaction '{\"transaction\": ID}'",
    weight: Weight::Guarantee,
    violations: "
        select format('transaction %s (%s)', transaction.id, transaction.transaction_id)
        from payments.transactions as transaction
        left join (
          select args from queue.jobs where kind = 'settle_transaction'
          union all
          select args from queue.finished_jobs
          where kind = 'settle_transaction' and state = 'discarded'
        ) as job on (job.args -> 'transaction')::bigint = transaction.id
        where transaction.status = 'PROCESSING' and job.args is null",
    recent: Recent::Same,
};

/// Protects G3: the outcome and the job's completion are one commit.
const SETTLED_HAVE_A_FINISHED_JOB: Invariant = Invariant {
    name: "settled-transactions-have-no-unfinished-job",
    claim: "no COMPLETED or FAILED transaction has a settle job that is still to be run",
    protects: "G3",
    hint: "did somebody write the outcome, or enqueue the job again, by hand?",
    weight: Weight::Guarantee,
    violations: "
        select format('job %s of transaction %s', job.id, transaction.id)
        from queue.jobs as job
        join payments.transactions as transaction
          on transaction.id = (job.args -> 'transaction')::bigint
        where job.kind = 'settle_transaction'
          and transaction.status in ('COMPLETED', 'FAILED')",
    recent: Recent::Same,
};

/// No guarantee, but money that nobody moves until somebody looks.
const NONE_WAITS_FOR_AN_OPERATOR: Invariant = Invariant {
    name: "no-transaction-waits-for-an-operator",
    claim: "no PROCESSING transaction's settle job was discarded and waits for a decision",
    protects: "dead letters",
    hint: "queue.attempts says why each attempt failed; mend that, then run the job again",
    weight: Weight::Notice,
    violations: "
        select
          format('transaction %s (%s), job %s', transaction.id, transaction.transaction_id, job.id)
        from queue.finished_jobs as job
        join payments.transactions as transaction
          on transaction.id = (job.args -> 'transaction')::bigint
        where job.kind = 'settle_transaction'
          and job.state = 'discarded'
          and transaction.status = 'PROCESSING'
          and not exists (
            select from queue.resolutions as decided
            where decided.job_id = job.id and decided.attempt = job.attempt
          )",
    recent: Recent::Same,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::SettleTransaction;
    use crate::queue::Job;

    #[test]
    fn they_look_at_the_kind_that_settles() {
        for invariant in INVARIANTS {
            let kind = format!("kind = '{}'", SettleTransaction::KIND);
            assert!(invariant.violations.contains(&kind), "{}", invariant.name);
        }
    }
}
