-- Takes back up to $1 jobs whose lease has run out: their worker is lost. Each runs again at once, unless it has now
-- taken $2 workers down: then it is discarded, and its follow-up enqueued, if it has one. A job that was to be cancelled
-- is cancelled instead. `skip locked`: a completion in progress wins, and several rescuers at once share the work.
with lost as materialized (
  select
    id, attempt, fence, worker_id, started_at, lease_expires_at, cancel_reason is not null as unwanted,
    cancel_reason is null and crash_count + 1 >= $2 as poison
  from queue.jobs
  where running and lease_expires_at < clock_timestamp()
  order by id
  limit $1
  for update skip locked
),
waiting as (
  update queue.jobs
  set
    running = false,
    crash_count = crash_count + 1,
    fence = null,
    worker_id = null,
    started_at = null,
    lease_expires_at = null,
    -- Its time has come long ago: it must not wait behind all that has become due since, or what is promised of
    -- lost workers would not hold while there is a backlog.
    priority = 1,
    run_at = clock_timestamp()
  from lost
  where jobs.id = lost.id and not lost.poison and not lost.unwanted
),
gone as (
  delete from queue.jobs
  using lost
  where jobs.id = lost.id and (lost.poison or lost.unwanted)
  returning jobs.*
),
finished as (
  insert into queue.finished_jobs (
    id, queue, kind, priority, attempt, max_attempts, crash_count, prior_attempts, state, run_at, enqueued_at, args,
    trace_context, last_traceparent, on_discard, key, batch_id, tags, progress, progress_text, checkpoint, args_key
  )
  select
    id, queue, kind, priority, attempt, max_attempts, crash_count + 1, prior_attempts,
    case when cancel_reason is null then 'discarded'::queue.finished_state else 'cancelled' end, run_at,
    enqueued_at, args, trace_context, last_traceparent, on_discard, key, batch_id, tags, progress, progress_text,
    checkpoint, args_key
  from gone
),
followed as (
  insert into queue.jobs (queue, kind, priority, max_attempts, args, trace_context)
  select
    on_discard ->> 'queue', on_discard ->> 'kind', (on_discard ->> 'priority')::smallint,
    (on_discard ->> 'max_attempts')::smallint, jsonb_build_object('job', id, 'kind', kind, 'args', args),
    trace_context
  from gone
  where on_discard is not null and cancel_reason is null
),
attempt as (
  insert into queue.attempts (job_id, attempt, fence, worker_id, started_at, outcome, error)
  select
    id, attempt, fence, worker_id, started_at, 'crashed',
    format('worker %s was lost: its lease ran out at %s', worker_id, lease_expires_at)
  from lost
)
select id as "id!", poison as "poison!" from lost
