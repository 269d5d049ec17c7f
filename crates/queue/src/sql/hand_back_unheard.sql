-- Hands back the jobs of worker $1 with fences above $2, other than the fences $3: those of a claim whose answer the worker
-- never got. They were never begun, so nothing counts: no attempt, and no lost worker. Returns them.
with unheard as materialized (
  select jobs.id
  from queue.jobs
  where jobs.running
    and jobs.worker_id = $1
    and jobs.fence > $2
    and not exists (select from unnest($3::bigint[]) as heard (fence) where heard.fence = jobs.fence)
  order by jobs.id
  for update skip locked
)
update queue.jobs
set
  running = false,
  attempt = attempt - 1,
  fence = null,
  worker_id = null,
  started_at = null,
  lease_expires_at = null,
  run_at = clock_timestamp()
from unheard
where jobs.id = unheard.id
returning jobs.id
