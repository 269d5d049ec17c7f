-- Makes the waiting jobs among $1 due now, because $2 says so for the reason $3, and lets their keys go on that wait for
-- somebody to ask for just that. Returns those that were; the others are due already, wait for other jobs, run, or have
-- ended.
--
-- As in every write of run_at, the transaction has its id before the clock is read (worker/claim/floor.rs): the locks see to
-- that.
with waiting as materialized (
  select id, run_at
  from queue.jobs
  where id = any ($1)
    and not running
    and hold is distinct from 'dependencies'
    and (
      run_at > clock_timestamp()
      or exists (select from queue.blocked_keys as blocked where blocked.job_id = jobs.id and blocked.cause = 'parked')
    )
  order by id
  for update
),
due as (
  update queue.jobs
  set run_at = clock_timestamp(), hold = null, wait_reason = null
  from waiting
  where jobs.id = waiting.id
),
goes_on as (
  delete from queue.blocked_keys
  using waiting
  where blocked_keys.job_id = waiting.id and blocked_keys.cause = 'parked'
)
insert into queue.interventions (job_id, action, made_by, reason, detail)
select id, 'retry', $2, $3, jsonb_build_object('was_due_at', run_at)
from waiting
returning job_id
