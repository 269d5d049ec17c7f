-- Enqueues many jobs by one statement, in the caller's transaction. Returns their ids in the order of the arrays, as one
-- array: a row for each would cost as much as half of the insert. The last array is what most jobs do without, as one
-- JSON object, or null. An array may be shorter than the others, or empty: what is missing is null.
--
-- run_at is read from the clock row by row, never from the start of the transaction, and no job is due earlier than
-- that: none may appear behind a moment that claims have already passed (worker/claim/floor.rs). For the same reason the
-- transaction gets its id before the clock is read: the filter is evaluated first, once.
--
-- Not for other programs, whose jobs nobody has checked: for these there is queue.enqueue.
create or replace function queue.enqueue_many(
  queues text[],
  kinds text[],
  priorities smallint[],
  max_attempts_of smallint[],
  delays float8[],
  args_of jsonb[],
  trace_contexts jsonb[],
  extras_of jsonb[]
) returns bigint[]
language plpgsql
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  ids bigint[];
begin
  with enqueued as (
    insert into queue.jobs (
      queue, kind, priority, max_attempts, run_at, args, trace_context, on_discard, key, hold, keeps_history, batch_id,
      tags, args_key
    )
    select
      queue, kind, priority, max_attempts,
      greatest(clock_timestamp() + make_interval(secs => greatest(delay_secs, 0)), (extras ->> 'run_at')::timestamptz),
      case
        when octet_length(args::text) > (select max_args_bytes from queue.settings)
        then queue.refuse_args(kind, octet_length(args::text))
        else args
      end,
      trace_context, extras -> 'on_discard', extras ->> 'key',
      case
        when extras -> 'held' is not null then 'dependencies'::queue.hold
        when extras ->> 'key' is not null and (delay_secs > 0 or (extras ->> 'run_at')::timestamptz > clock_timestamp())
          then 'until_due'::queue.hold
      end,
      extras -> 'no_history' is null, (extras ->> 'batch_id')::bigint,
      case when extras ? 'tags' then array(select jsonb_array_elements_text(extras -> 'tags')) end, extras ->> 'args_key'
    from unnest(queues, kinds, priorities, max_attempts_of, delays, args_of, trace_contexts, extras_of)
      with ordinality
      as job (queue, kind, priority, max_attempts, delay_secs, args, trace_context, extras, position)
    where pg_current_xact_id() is not null
    order by position
    returning id
  )
  select array_agg(enqueued.id order by enqueued.id) into ids from enqueued;
  return ids;
end $$;
