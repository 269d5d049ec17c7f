-- Enqueues a job that was stored to be enqueued later, such as a callback of a batch (the domain queue.stored_job). It
-- was looked at when it was stored: limits that were set since must not keep it from being enqueued.
create or replace function queue.enqueue_stored(job jsonb) returns bigint
language sql
as $$
  insert into queue.jobs (
    queue, kind, priority, max_attempts, run_at, args, trace_context, on_discard, key, hold, keeps_history, tags, args_key
  )
  select
    job ->> 'queue', job ->> 'kind', (job ->> 'priority')::smallint, (job ->> 'max_attempts')::smallint,
    greatest(due.run_at, clock_timestamp()), job -> 'args', nullif(job -> 'trace_context', 'null'), job -> 'on_discard',
    job ->> 'key',
    case when job ? 'key' and due.run_at > clock_timestamp() then 'until_due'::queue.hold end,
    job -> 'no_history' is null,
    case when job ? 'tags' then array(select jsonb_array_elements_text(job -> 'tags')) end,
    job ->> 'args_key'
  from (
    select coalesce(
      (job ->> 'run_at')::timestamptz,
      clock_timestamp() + make_interval(secs => nullif((job ->> 'delay_secs')::float8, 0))
    ) as run_at
  ) as due
  -- The transaction gets its id before the clock is read for run_at (worker/claim/floor.rs).
  where pg_current_xact_id() is not null
  returning id
$$;
