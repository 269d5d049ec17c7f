-- The jobs that worker $1 runs and is to stop, and why.
select id, fence as "fence!", cancel_reason as "reason!"
from queue.jobs
where cancel_reason is not null and running and worker_id = $1
