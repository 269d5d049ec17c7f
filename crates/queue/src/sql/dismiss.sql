-- Writes discarded job $1 off, because $2 says so for the reason $3. Returns no row when the job is not discarded or has
-- been decided over.
insert into queue.resolutions (job_id, attempt, resolution, resolved_by, reason)
select id, attempt, 'dismissed', $2, $3
from queue.finished_jobs
where id = $1 and state = 'discarded'
on conflict do nothing
returning job_id
