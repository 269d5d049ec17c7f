-- Renews the leases of the jobs $1 under their fences $2 for $3 seconds. Returns the jobs whose lease was renewed.
-- Changes no indexed column, so it is a heap-only update. The first condition is for the index; a job that does not run
-- has no fence.
update queue.jobs
set lease_expires_at = clock_timestamp() + make_interval(secs => $3)
from unnest($1::bigint[], $2::bigint[]) as mine (id, fence)
where jobs.id = any ($1::bigint[])
  and jobs.id = mine.id
  and jobs.fence = mine.fence
returning jobs.id
