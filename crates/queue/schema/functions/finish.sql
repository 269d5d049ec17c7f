-- Ends job `job` under its fence for good without completing it: `ended_as` is the state it is kept in, `outcome` how
-- its last attempt ended. Returns null when the job belongs to another worker by now.
--
-- With `follow_up`, a discard enqueues the job of on_discard. Without, the handler has seen to all that its discard
-- entails in the transaction that this runs in.
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
as $$
begin
  return (
    select ended.id
    from queue.end_jobs(
      array[job], array[job_fence], ended_as, outcome, array[error], array[traceparent], follow_up => follow_up
    ) as ended
  );
end $$;
