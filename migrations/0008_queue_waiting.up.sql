-- What jobs with effects outside the database need of the queue: why a job waits, a discard that commits together with
-- what the handler wrote, a follow-up for discards that no handler saw, and what operators decide over discarded jobs.

alter table queue.jobs
  -- Why the job waits, if its handler said so when it snoozed. The claim clears it. No index knows it.
  add column wait_reason text,
  -- The job to enqueue when this one is discarded and its handler has not seen to that itself: kind, queue, priority
  -- and max_attempts of it. With the job, because the worker that discards it may know neither kind. Null: none.
  add column on_discard jsonb,
  -- Attempts begun before the job was last redriven. They are numbered on, but the backoff begins anew.
  add column prior_attempts smallint not null default 0,
  -- Looked at when the job is enqueued, because what cannot be enqueued later would stop the rescue of all jobs.
  add constraint jobs_on_discard_is_a_job check (
    on_discard is null
    or (
      length(on_discard ->> 'kind') between 1 and 100
      and length(on_discard ->> 'queue') between 1 and 100
      and (on_discard ->> 'priority')::smallint between 1 and 4
      and (on_discard ->> 'max_attempts')::smallint between 1 and 1000
    ) is true
  );

-- What a redriven job takes back with it. Completed jobs are never redriven, so queue.complete leaves these empty.
alter table queue.finished_jobs
  add column on_discard jsonb,
  add column prior_attempts smallint not null default 0;

-- What operators page through, newest first.
create index finished_jobs_discarded_newest on queue.finished_jobs_discarded (finished_at, id);

create type queue.resolution as enum ('redriven', 'dismissed');

-- What operators decided over discarded jobs. History is never changed, and its partitions are dropped, so this stands
-- beside it: small, append-only, kept for ever. The key makes it impossible to decide twice over one discard; a job
-- that is discarded again after a redrive has begun more attempts, and is decided over anew.
create table queue.resolutions (
  job_id      bigint not null,
  -- The attempt that the job was discarded at.
  attempt     smallint not null,
  resolution  queue.resolution not null,
  resolved_by text not null,
  reason      text not null,
  resolved_at timestamptz not null default clock_timestamp(),
  primary key (job_id, attempt),
  constraint resolutions_name_somebody check (resolved_by <> '')
);

-- Ends job `job` under its fence for good without completing it: `ended_as` is the state it is kept in, `outcome` how
-- its last attempt ended. Returns null when the job belongs to another worker by now.
--
-- With `follow_up`, a discard enqueues the job of on_discard, whose arguments name the discarded job and repeat its
-- arguments. Without, the handler has seen to all that its discard entails in the transaction that this runs in.
--
-- A function for the reason that queue.complete is one: handlers call it, too.
create function queue.finish(
  job bigint,
  job_fence bigint,
  ended_as queue.finished_state,
  outcome queue.attempt_outcome,
  error text,
  traceparent text,
  follow_up boolean
) returns bigint
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  finished_id bigint;
begin
  with gone as (
    delete from queue.jobs
    where jobs.id = finish.job and jobs.fence = finish.job_fence and jobs.running
    returning jobs.*
  ),
  finished as (
    insert into queue.finished_jobs (
      id, queue, kind, priority, attempt, max_attempts, crash_count, prior_attempts, state, run_at, enqueued_at, args,
      trace_context, last_traceparent, on_discard
    )
    select
      gone.id, gone.queue, gone.kind, gone.priority, gone.attempt, gone.max_attempts, gone.crash_count,
      gone.prior_attempts, finish.ended_as, gone.run_at, gone.enqueued_at, gone.args, gone.trace_context,
      coalesce(finish.traceparent, gone.last_traceparent), gone.on_discard
    from gone
  ),
  followed as (
    insert into queue.jobs (queue, kind, priority, max_attempts, args, trace_context)
    select
      gone.on_discard ->> 'queue', gone.on_discard ->> 'kind', (gone.on_discard ->> 'priority')::smallint,
      (gone.on_discard ->> 'max_attempts')::smallint,
      jsonb_build_object('job', gone.id, 'kind', gone.kind, 'args', gone.args), gone.trace_context
    from gone
    where finish.follow_up and finish.ended_as = 'discarded' and gone.on_discard is not null
  )
  insert into queue.attempts (job_id, attempt, fence, worker_id, started_at, outcome, error, traceparent)
  select
    gone.id, gone.attempt, gone.fence, gone.worker_id, gone.started_at, finish.outcome, finish.error,
    finish.traceparent
  from gone
  returning attempts.job_id into finished_id;
  return finished_id;
end $$;

drop view queue.all_jobs;

-- Every job, finished or not, with the state that people speak of. For people, `app verify` and lists; the engine
-- itself never reads it.
create view queue.all_jobs as
select
  id, queue, kind, priority,
  case
    when running then 'running'
    when run_at <= now() then 'available'
    when attempt > 0 then 'retryable'
    else 'scheduled'
  end as state,
  wait_reason, run_at, attempt, max_attempts, crash_count, prior_attempts, fence, worker_id, started_at,
  lease_expires_at, enqueued_at, null::timestamptz as finished_at, args, trace_context, last_traceparent, on_discard
from queue.jobs
union all
select
  id, queue, kind, priority, state::text,
  null, run_at, attempt, max_attempts, crash_count, prior_attempts, null, null, null,
  null, enqueued_at, finished_at, args, trace_context, last_traceparent, on_discard
from queue.finished_jobs;
