-- The queue and kind of jobs, unfinished or not, and the present moment.
select queue as "queue!", kind as "kind!", id as "id!", clock_timestamp() as "now!"
from (
  select queue, kind, id from queue.jobs where id = any ($1::bigint[])
  union all
  select queue, kind, id from queue.finished_jobs where id = any ($1::bigint[])
) as job
