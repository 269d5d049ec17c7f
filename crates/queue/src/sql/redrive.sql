-- Moves the discarded jobs among $1 from the history back to where jobs wait, due now, because $2 says so for the reason
-- $3. Their attempts are numbered on and they may have as many more as they had at first; 1,000 is all that max_attempts
-- can hold. Returns those that were moved; the others are not discarded or have been decided over.
--
-- The key of queue.resolutions lets one of several redrives and dismissals at once pass: the others wait for its
-- commit, and then insert nothing; in the order of ids, so that none waits for another in a circle. As in every enqueue
-- the clock is read after the transaction got its id (worker/claim/floor.rs): the rows read here come from a delete.
with resolved as (
  insert into queue.resolutions (job_id, attempt, resolution, resolved_by, reason)
  select id, attempt, 'redriven', $2, $3
  from queue.finished_jobs
  where id = any ($1) and state = 'discarded' and attempt < 1000
  order by id
  on conflict do nothing
  returning job_id
),
gone as (
  delete from queue.finished_jobs
  using resolved
  where finished_jobs.id = resolved.job_id and finished_jobs.state = 'discarded'
  returning finished_jobs.*
)
insert into queue.jobs (
  id, queue, kind, priority, run_at, attempt, max_attempts, prior_attempts, enqueued_at, args, trace_context,
  last_traceparent, on_discard, key, batch_id, tags, progress, progress_text, checkpoint, args_key, failure,
  failed_at
)
overriding system value
select
  id, queue, kind, priority, clock_timestamp(), attempt, least(attempt + max_attempts - prior_attempts, 1000), attempt,
  enqueued_at, args, trace_context, last_traceparent, on_discard, key, batch_id, tags, progress, progress_text,
  checkpoint, args_key, failure, case when failure is not null then finished_at end
from gone
returning id
