-- Enqueues many jobs by one statement, in the caller's transaction. Returns their ids in the order of the arrays.
--
-- run_at is read from the clock row by row, never from the start of the transaction, and a delay is never negative:
-- no job may appear behind a moment that claims have already passed (claim_floor.rs). For the same reason the
-- transaction gets its id before the clock is read: the filter is evaluated first, once.
insert into queue.jobs (queue, kind, priority, max_attempts, run_at, args, trace_context, on_discard)
select
  queue, kind, priority, max_attempts, clock_timestamp() + make_interval(secs => greatest(delay_secs, 0)), args,
  trace_context, on_discard
from unnest($1::text[], $2::text[], $3::smallint[], $4::smallint[], $5::float8[], $6::jsonb[], $7::jsonb[],
  $8::jsonb[])
  with ordinality as job (queue, kind, priority, max_attempts, delay_secs, args, trace_context, on_discard, position)
where pg_current_xact_id() is not null
order by position
returning id
