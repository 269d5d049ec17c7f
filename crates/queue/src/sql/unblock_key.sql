-- Lets key $2 of queue $1 go on, because $3 says so for the reason $4. A parked head is due now. Returns no row when the
-- key was not blocked.
with unblocked as (
  delete from queue.blocked_keys where queue = $1 and key = $2 returning job_id, cause
),
due as (
  update queue.jobs
  set hold = null, run_at = clock_timestamp()
  from unblocked
  where jobs.id = unblocked.job_id and not jobs.running and jobs.hold = 'until_due'
),
told as (
  insert into queue.interventions (job_id, action, made_by, reason, detail)
  select job_id, 'unblock_key', $3, $4, jsonb_build_object('queue', $1::text, 'key', $2::text, 'cause', cause)
  from unblocked
)
select job_id as "job_id!: JobId" from unblocked
