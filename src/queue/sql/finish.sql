-- Ends job $1 under fence $2 for good without completing it: $3 is the state it is kept in, $4 how its last attempt
-- ended, $5 the error, $6 the attempt's traceparent. Returns no row when the job belongs to another worker by now.
with gone as (
  delete from queue.jobs
  where id = $1 and fence = $2 and running
  returning *
),
finished as (
  insert into queue.finished_jobs (
    id, queue, kind, priority, attempt, max_attempts, crash_count, state, run_at, enqueued_at, args, trace_context,
    last_traceparent
  )
  select
    id, queue, kind, priority, attempt, max_attempts, crash_count, $3, run_at, enqueued_at, args, trace_context,
    coalesce($6, last_traceparent)
  from gone
)
insert into queue.attempts (job_id, attempt, fence, worker_id, started_at, outcome, error, traceparent)
select id, attempt, fence, worker_id, started_at, $4, $5, $6
from gone
returning job_id
