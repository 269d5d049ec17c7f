//! The invariants of the queue, which hold at every moment, whatever its jobs do.

use super::invariants::{Invariant, Recent, Weight};

/// The invariants of the queue.
pub const INVARIANTS: &[Invariant] = &[
    WAITING_OR_FINISHED,
    FINISHED_ONCE,
    ATTEMPTS_NUMBERED,
    ATTEMPTS_BOUNDED,
    DISCARDED_TELL_WHY,
    REDRIVEN_RUN_AGAIN,
    LEASES_ALIVE,
    HELD_FOR_SOMETHING,
    BATCHES_END,
    DONE_BATCHES_AT_REST,
];

/// Protects G3: a finished job that is still waiting would run again.
const WAITING_OR_FINISHED: Invariant = Invariant {
    name: "jobs-are-unfinished-or-finished",
    claim: "no job is unfinished and finished at once",
    protects: "G3",
    hint: "one statement moves a job to queue.finished_jobs: who wrote one of the rows alone?",
    weight: Weight::Guarantee,
    violations: "
        select format('job %s', job.id)
        from queue.jobs as job
        join queue.finished_jobs as finished on finished.id = job.id",
    recent: Recent::Same,
};

/// Protects G3: a job that finished twice did its work twice.
const FINISHED_ONCE: Invariant = Invariant {
    name: "jobs-finish-once",
    claim: "no job is finished twice",
    protects: "G3, G4",
    hint: "look at queue.attempts by job_id: which fences completed it?",
    weight: Weight::Guarantee,
    violations: "
        select format('job %s', id)
        from queue.finished_jobs
        /*new where id in (select id from queue.finished_jobs where finished_at >= {since}) new*/
        group by id
        having count(*) > 1",
    recent: Recent::Same,
};

/// Protects G4 and the promise that every attempt is kept: an attempt that is missing ended without
/// the fence being asked, or was lost.
///
/// An attempt is counted when it begins and recorded when it ends, so the last attempt of a running
/// job has no row. Retention drops attempts by age: of a job that is older than what is kept, the
/// first ones may be gone.
const ATTEMPTS_NUMBERED: Invariant = Invariant {
    name: "attempts-are-numbered-without-gaps",
    claim: "the ended attempts of every job are numbered 1 to n, each once",
    protects: "G3, G4",
    hint: "look at queue.attempts by job_id, and at the job's attempt in queue.all_jobs",
    weight: Weight::Guarantee,
    violations: "
        with job as (
          select id, enqueued_at, attempt - running::int as ended from queue.jobs
          union all
          select id, enqueued_at, attempt as ended from queue.finished_jobs
        ),
        numbered as (
          select job_id, attempt, count(*) as times from queue.attempts group by job_id, attempt
        ),
        recorded as (
          select
            job_id,
            count(*) as attempts,
            sum(times) as rows,
            min(attempt) as first,
            max(attempt) as last
          from numbered
          group by job_id
        ),
        kept as materialized (
          select coalesce(queue.kept_since('queue.attempts'), 'infinity') as since
        )
        select format('job %s', coalesce(job.id, recorded.job_id))
        from job
        full join recorded on recorded.job_id = job.id
        cross join kept
        where recorded.rows <> recorded.attempts
          or recorded.attempts <> recorded.last - recorded.first + 1
          or (job.enqueued_at >= kept.since and coalesce(recorded.attempts, 0) <> job.ended)
          or (job.enqueued_at >= kept.since and recorded.first <> 1)
          or recorded.last <> job.ended",
    recent: Recent::LeftOut,
};

/// Protects G9, that a poison job ends.
const ATTEMPTS_BOUNDED: Invariant = Invariant {
    name: "attempts-are-bounded",
    claim: "no job has begun more attempts than it may, lost workers aside",
    protects: "G9",
    hint: "look at the job in queue.all_jobs: who claimed it after its last attempt?",
    weight: Weight::Guarantee,
    violations: "
        select format('job %s', id)
        from queue.all_jobs
        where attempt - crash_count > max_attempts
          /*new and (finished_at is null or finished_at >= {since}) new*/",
    recent: Recent::Same,
};

/// Protects what an operator needs to decide over a discarded job.
const DISCARDED_TELL_WHY: Invariant = Invariant {
    name: "discarded-jobs-tell-why",
    claim: "of every discarded job is kept the error of its last attempt, or who discarded it",
    protects: "dead letters",
    hint: "look at queue.attempts and queue.interventions by job_id",
    weight: Weight::Guarantee,
    violations: "
        select format('job %s', job.id)
        from queue.finished_jobs as job
        left join queue.attempts as last_one
          on last_one.job_id = job.id
            and last_one.attempt = job.attempt
            and last_one.error is not null
        where job.state = 'discarded'
          and last_one.job_id is null
          and not exists (
            select from queue.interventions as told
            where told.job_id = job.id
              and told.action = 'discard'
              and (told.detail ->> 'attempt')::smallint = job.attempt
          )",
    recent: Recent::Same,
};

/// Protects G3 and what operators decide: a redriven job that is still in the history is either
/// lost, or runs and could be redriven once more.
const REDRIVEN_RUN_AGAIN: Invariant = Invariant {
    name: "redriven-jobs-left-the-history",
    claim: "no discarded job has been redriven since its last attempt",
    protects: "G3, dead letters",
    hint: "look at queue.resolutions by job_id: one statement writes it and moves the job",
    weight: Weight::Guarantee,
    violations: "
        select format('job %s', job.id)
        from queue.finished_jobs as job
        join queue.resolutions as resolved
          on resolved.job_id = job.id
            and resolved.attempt = job.attempt
            and resolved.resolution = 'redriven'
        where job.state = 'discarded'",
    recent: Recent::Same,
};

/// Protects G5, that a lost worker's jobs run again. Two default leases are far beyond what a
/// rescue needs.
const LEASES_ALIVE: Invariant = Invariant {
    name: "no-lease-is-long-expired",
    claim: "no running job's lease ran out more than 60 s ago",
    protects: "G5",
    hint: "a running worker rescues such jobs: is one running that reaches this database?",
    weight: Weight::Guarantee,
    violations: "
        select format('job %s', id)
        from queue.jobs
        where running
          and (lease_expires_at >= now() - interval '60 seconds') is not true",
    recent: Recent::Same,
};

/// Protects that a waiting job goes on. The sweep needs seconds; when a parent has ended is told by
/// what it left behind, so those that left nothing are not looked at.
const HELD_FOR_SOMETHING: Invariant = Invariant {
    name: "held-jobs-wait-for-something",
    claim: "no job waits for nothing, or for one that ended more than 60 s ago, a redrive aside",
    protects: "dependencies",
    hint: "a running worker sweeps queue.dependencies: is one running that reaches this database?",
    weight: Weight::Guarantee,
    violations: "
        select format('job %s waits for nothing', id)
        from queue.jobs
        where hold = 'dependencies'
          and enqueued_at < now() - interval '60 seconds'
          and not exists (select from queue.dependencies where job_id = id)
        union all
        select format('job %s waits for job %s', dependency.job_id, parent.id)
        from queue.dependencies as dependency
        join queue.jobs as waiting on waiting.id = dependency.job_id
        join queue.finished_jobs as parent on parent.id = dependency.depends_on
        where greatest(parent.finished_at, waiting.enqueued_at) < now() - interval '60 seconds'
          and not (
            dependency.if_failed = 'wait'
            and parent.state = 'discarded'
            and not exists (
              select from queue.resolutions as resolved
              where resolved.job_id = parent.id
                and resolved.resolution = 'dismissed'
                and resolved.resolved_at < now() - interval '60 seconds'
            )
          )",
    recent: Recent::Same,
};

/// Protects that callbacks are enqueued.
const BATCHES_END: Invariant = Invariant {
    name: "batches-end-with-their-members",
    claim: "no batch is open whose last member ended more than 60 s ago",
    protects: "batches",
    hint: "a running worker sweeps queue.batches: is one running that reaches this database?",
    weight: Weight::Guarantee,
    violations: "
        select format('batch %s', batch.id)
        from queue.batches as batch
        where batch.done_at is null
          and batch.created_at < now() - interval '60 seconds'
          and not exists (select from queue.jobs where batch_id = batch.id)
          and not exists (
            select from queue.finished_jobs
            where batch_id = batch.id and finished_at >= now() - interval '60 seconds'
          )",
    recent: Recent::Same,
};

/// Protects what `on_done` promises: that nothing of the batch is to come.
const DONE_BATCHES_AT_REST: Invariant = Invariant {
    name: "done-batches-are-at-rest",
    claim: "no batch is done that has unfinished members, redriven ones aside",
    protects: "batches",
    hint: "members join a batch under a lock on its row: who set batch_id without it?",
    weight: Weight::Guarantee,
    violations: "
        select format('batch %s, job %s', batch.id, member.id)
        from queue.batches as batch
        join queue.jobs as member on member.batch_id = batch.id
        where batch.done_at is not null
          and not exists (
            select from queue.resolutions as resolved
            where resolved.job_id = member.id and resolved.resolution = 'redriven'
          )",
    recent: Recent::Same,
};

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::LEASES_ALIVE;
    use crate::worker::WorkerSettings;

    #[test]
    fn a_lease_is_long_expired_after_two_default_leases() {
        let long: Duration = WorkerSettings::default().lease * 2;
        let written = format!("interval '{} seconds'", long.as_secs());
        assert!(LEASES_ALIVE.violations.contains(&written), "{written}");
    }
}
