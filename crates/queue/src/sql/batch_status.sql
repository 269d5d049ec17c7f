-- Batch $1, and how many of its members are in which state, each counted up to $2.
select
  description, created_at, failed_at, done_at, completed_at,
  (select count(*) from (select from queue.jobs where batch_id = $1 and not running limit $2) as member)
    as "waiting!",
  (select count(*) from (select from queue.jobs where batch_id = $1 and running limit $2) as member) as "running!",
  (select count(*) from (select from queue.finished_jobs where batch_id = $1 and state = 'completed' limit $2) as member)
    as "completed!",
  (select count(*) from (select from queue.finished_jobs where batch_id = $1 and state = 'cancelled' limit $2) as member)
    as "cancelled!",
  (select count(*) from (select from queue.finished_jobs where batch_id = $1 and state = 'discarded' limit $2) as member)
    as "discarded!"
from queue.batches
where id = $1
