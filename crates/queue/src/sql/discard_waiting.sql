-- Moves the waiting jobs among $1 to the history as discarded, because $2 says so for the reason $3, and enqueues their
-- follow-ups. No attempt was made, so none is recorded: the intervention tells why. Returns those that were discarded,
-- and whether others wait for that.
--
-- A job that was redriven and has not run since is passed over: it could not be redriven from there, as each attempt can
-- be decided over once.
with waiting as materialized (
  select id
  from queue.jobs
  where id = any ($1)
    and not running
    and not exists (
      select from queue.resolutions as resolved
      where resolved.job_id = jobs.id and resolved.attempt = jobs.attempt
    )
  order by id
  for update
),
gone as (
  delete from queue.jobs
  using waiting
  where jobs.id = waiting.id
  returning jobs.*
),
finished as (
  insert into queue.finished_jobs (
    id, queue, kind, priority, attempt, max_attempts, crash_count, prior_attempts, state, run_at, enqueued_at, args,
    trace_context, last_traceparent, on_discard, key, batch_id, tags, progress, progress_text, checkpoint, args_key
  )
  select
    id, queue, kind, priority, attempt, max_attempts, crash_count, prior_attempts, 'discarded', run_at, enqueued_at,
    args, trace_context, last_traceparent, on_discard, key, batch_id, tags, progress, progress_text, checkpoint,
    args_key
  from gone
),
followed as (
  insert into queue.jobs (queue, kind, priority, max_attempts, args, trace_context)
  select
    on_discard ->> 'queue', on_discard ->> 'kind', (on_discard ->> 'priority')::smallint,
    (on_discard ->> 'max_attempts')::smallint, jsonb_build_object('job', id, 'kind', kind, 'args', args),
    trace_context
  from gone
  where on_discard is not null
),
no_longer_held as (
  delete from queue.dependencies
  using gone
  where dependencies.job_id = gone.id
),
told as (
  insert into queue.interventions (job_id, action, made_by, reason, detail)
  select id, 'discard', $2, $3, jsonb_build_object('attempt', attempt)
  from gone
)
select
  id as "id!",
  batch_id is not null or exists (select from queue.dependencies where depends_on = gone.id) as "wakes!"
from gone
