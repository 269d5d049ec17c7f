-- Of each queue the due job that has waited longest. Goes from lane to lane by index, so the number of jobs does not
-- matter.
with recursive lane (queue, priority) as (
  (
    select queue, priority
    from queue.jobs
    where not running
    order by queue, priority
    limit 1
  )
  union all
  select next_lane.queue, next_lane.priority
  from lane
  cross join lateral (
    select jobs.queue, jobs.priority
    from queue.jobs
    where not running and (jobs.queue, jobs.priority) > (lane.queue, lane.priority)
    order by jobs.queue, jobs.priority
    limit 1
  ) as next_lane
)
select distinct on (lane.queue)
  lane.queue as "queue!",
  oldest.id as "id!",
  oldest.kind as "kind!",
  extract(epoch from now() - oldest.run_at)::float8 as "waited_secs!"
from lane
cross join lateral (
  select id, kind, run_at
  from queue.jobs
  where not running
    and jobs.queue = lane.queue
    and jobs.priority = lane.priority
    and run_at <= now()
  order by run_at, id
  limit 1
) as oldest
order by lane.queue, oldest.run_at
