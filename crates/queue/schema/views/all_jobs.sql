-- Every job, finished or not, with the state that people speak of. For people and for lists; the engine itself never
-- reads it.
drop view if exists queue.all_jobs;
create view queue.all_jobs as
select
  id, queue, kind, priority, queue.state_of(jobs) as state, wait_reason, run_at, attempt, max_attempts, crash_count,
  prior_attempts, fence, worker_id, started_at, lease_expires_at, enqueued_at, null::timestamptz as finished_at, args,
  trace_context, last_traceparent, on_discard, key, hold, keeps_history, batch_id, tags, cancel_requested_by,
  cancel_reason, progress, progress_text, checkpoint, args_key, null::jsonb as output, failure
from queue.jobs
union all
select
  id, queue, kind, priority, state::text, null, run_at, attempt, max_attempts, crash_count,
  prior_attempts, null, null, null, null, enqueued_at, finished_at, args,
  trace_context, last_traceparent, on_discard, key, null, true, batch_id, tags, null,
  null, progress, progress_text, checkpoint, args_key, output, failure
from queue.finished_jobs;
