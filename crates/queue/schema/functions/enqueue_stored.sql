-- Enqueues a job that was stored to be enqueued later, such as a callback of a batch (the domain queue.stored_job).
create or replace function queue.enqueue_stored(job jsonb) returns bigint
language sql
as $$
  select job_id
  from queue.enqueue(
    kind => job ->> 'kind',
    args => job -> 'args',
    queue => job ->> 'queue',
    priority => (job ->> 'priority')::int,
    run_at => coalesce(
      (job ->> 'run_at')::timestamptz,
      case
        when (job ->> 'delay_secs')::float8 > 0
        then clock_timestamp() + make_interval(secs => (job ->> 'delay_secs')::float8)
      end
    ),
    max_attempts => (job ->> 'max_attempts')::int,
    key => job ->> 'key',
    tags => case when job ? 'tags' then array(select jsonb_array_elements_text(job -> 'tags')) end,
    keeps_history => job -> 'no_history' is null,
    on_discard => job -> 'on_discard',
    args_key => job ->> 'args_key',
    trace_context => nullif(job -> 'trace_context', 'null')
  )
$$;
