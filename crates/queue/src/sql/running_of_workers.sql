-- The jobs that worker $1 has in progress, null for all workers, the longest running first; at most $2. There are no more
-- of them than all workers together have slots.
select
  id as "id: JobId", kind, queue, key, worker_id as "worker_id!", attempt, max_attempts, started_at as "started_at!",
  cancel_reason is not null as "is_to_be_cancelled!", progress, progress_text
from queue.jobs
where running and ($1::uuid is null or worker_id = $1)
order by started_at, id
limit $2
