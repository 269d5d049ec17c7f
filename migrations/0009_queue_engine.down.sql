drop view queue.all_jobs;

drop function queue.claim, queue.cancel, queue.cancel_waiting, queue.enqueue, queue.reserve_unique, queue.state_of;

create or replace function queue.finish(
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

create or replace function queue.complete(ids bigint[], fences bigint[]) returns setof bigint
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
begin
  return query
  with done as (
    delete from queue.jobs
    using unnest(ids, fences) as mine (id, fence)
    where jobs.id = mine.id
      and jobs.fence = mine.fence
      and jobs.running
    returning jobs.*
  ),
  finished as (
    insert into queue.finished_jobs (
      id, queue, kind, priority, attempt, max_attempts, crash_count, state, run_at, enqueued_at, args, trace_context,
      last_traceparent
    )
    select
      done.id, done.queue, done.kind, done.priority, done.attempt, done.max_attempts, done.crash_count, 'completed',
      done.run_at, done.enqueued_at, done.args, done.trace_context, done.last_traceparent
    from done
  ),
  attempt as (
    insert into queue.attempts (job_id, attempt, fence, worker_id, started_at, outcome)
    select done.id, done.attempt, done.fence, done.worker_id, done.started_at, 'completed'
    from done
  )
  select done.id from done;
end $$;

drop function queue.complete(bigint[], bigint[], text[], jsonb[]);

drop table
  queue.unique_keys, queue.interventions, queue.batches, queue.dependencies, queue.pauses, queue.limits;

-- Jobs of a key that are not due wait by time again, as all do.
alter table queue.jobs
  alter column queue type text collate "C",
  alter column kind type text collate "C",
  alter column priority type smallint,
  alter column attempt type smallint,
  alter column max_attempts type smallint,
  alter column crash_count type smallint,
  alter column prior_attempts type smallint,
  alter column on_discard type jsonb,
  add constraint jobs_queue_is_named check (queue <> '' and length(queue) <= 100),
  add constraint jobs_kind_is_named check (kind <> '' and length(kind) <= 100),
  add constraint jobs_priority_is_known check (priority between 1 and 4),
  add constraint jobs_attempts_are_bounded check (
    max_attempts between 1 and 1000 and attempt >= 0 and crash_count >= 0
  ),
  add constraint jobs_on_discard_is_a_job check (
    on_discard is null
    or (
      length(on_discard ->> 'kind') between 1 and 100
      and length(on_discard ->> 'queue') between 1 and 100
      and (on_discard ->> 'priority')::smallint between 1 and 4
      and (on_discard ->> 'max_attempts')::smallint between 1 and 1000
    ) is true
  ),
  drop column key, drop column hold, drop column keeps_history, drop column batch_id, drop column tags,
  drop column cancel_requested_by, drop column cancel_reason, drop column progress, drop column progress_text,
  drop column checkpoint, drop column args_key;
alter table queue.finished_jobs
  drop column key, drop column batch_id, drop column tags, drop column output, drop column progress,
  drop column progress_text, drop column checkpoint, drop column args_key;
drop type queue.hold;
drop domain
  queue.queue_name, queue.kind_name, queue.job_priority, queue.attempt_limit, queue.attempt_count, queue.job_key,
  queue.percentage, queue.follow_up;

create index jobs_waiting on queue.jobs (queue, priority, run_at, id) where not running;

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
