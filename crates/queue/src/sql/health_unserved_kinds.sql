-- Kinds of due jobs that no worker takes. Claims leave such jobs where they are, so they gather at the front: the first
-- thousand of each queue and priority tell.
with recursive lane (queue, priority) as (
  (
    select queue, priority
    from queue.jobs
    where not running and key is null and hold is null
    order by queue, priority
    limit 1
  )
  union all
  select next_lane.queue, next_lane.priority
  from lane
  cross join lateral (
    select jobs.queue, jobs.priority
    from queue.jobs
    where not running and key is null and hold is null
      and (jobs.queue, jobs.priority) > (lane.queue, lane.priority)
    order by jobs.queue, jobs.priority
    limit 1
  ) as next_lane
),
waiting as (
  select first_ones.*
  from lane
  cross join lateral (
    select queue, kind, run_at, id
    from queue.jobs
    where not running and key is null and hold is null
      and jobs.queue = lane.queue
      and jobs.priority = lane.priority
      and run_at <= now()
    order by run_at, id
    limit 1000
  ) as first_ones
  union all
  (
    select queue, kind, run_at, id
    from queue.jobs
    where not running and key is not null and hold is null and run_at <= now()
    order by queue, key, priority, run_at, id
    limit 1000
  )
)
select
  queue as "queue!", kind as "kind!", count(*) as "jobs!", min(id) as "first_id!",
  extract(epoch from now() - min(run_at))::float8 as "waited_secs!"
from waiting
where not exists (
  select
  from queue.workers
  where last_seen_at >= clock_timestamp() - lease
    and draining_at is null
    and waiting.queue = any (queues)
    and waiting.kind = any (kinds)
)
group by queue, kind
order by queue, kind
