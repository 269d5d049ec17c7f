-- Writes those of the discarded jobs $1 off that nobody has decided over, because $2 says so for the reason $3; their
-- failures are dealt with. Returns them.
with resolved as (
  insert into queue.resolutions (job_id, attempt, resolution, resolved_by, reason)
  select id, attempt, 'dismissed', $2, $3
  from queue.finished_jobs
  where id = any ($1) and state = 'discarded'
  order by id
  on conflict do nothing
  returning job_id
),
dealt_with as (
  update queue.finished_jobs
  set failure = null
  from resolved
  where finished_jobs.id = resolved.job_id and finished_jobs.state = 'discarded'
)
select job_id from resolved
