-- Of each queue the due job that has waited longest, among those that are next: the first of each priority, the first of
-- each key (of the first 10,000 keys), and the first that should have been let go when its time had come. Goes from one
-- to the next by index, so the number of jobs does not matter. What is held up on purpose does not count: paused queues,
-- blocked keys, and in ordered queues what is behind another job of its key.
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
every_key (queue, key) as (
  (
    select queue, key
    from queue.jobs
    where not running and key is not null and hold is null
    order by queue, key
    limit 1
  )
  union all
  select next_key.queue, next_key.key
  from every_key
  cross join lateral (
    select jobs.queue, jobs.key
    from queue.jobs
    where not running and key is not null and hold is null
      and (jobs.queue, jobs.key) > (every_key.queue, every_key.key)
    order by jobs.queue, jobs.key
    limit 1
  ) as next_key
),
first_keys as (
  select queue, key from every_key limit 10000
),
next_job as (
  select first_of_lane.*
  from lane
  cross join lateral (
    select queue, id, kind, run_at
    from queue.jobs
    where not running and key is null and hold is null
      and jobs.queue = lane.queue
      and jobs.priority = lane.priority
      and run_at <= now()
    order by run_at, id
    limit 1
  ) as first_of_lane
  union all
  select first_of_key.*
  from first_keys
  cross join lateral (
    select queue, id, kind, run_at
    from queue.jobs
    where not running and key is not null and hold is null
      and jobs.queue = first_keys.queue
      and jobs.key = first_keys.key
    order by priority, run_at, id
    limit 1
  ) as first_of_key
  where first_of_key.run_at <= now()
    and not exists (
      select
      from queue.blocked_keys as blocked
      where blocked.queue = first_keys.queue and blocked.key = first_keys.key
    )
    and not exists (
      select
      from queue.limits
      where limits.queue = first_keys.queue
        and ordered
        and exists (
          select
          from queue.jobs
          where jobs.queue = first_keys.queue and jobs.key = first_keys.key and jobs.id < first_of_key.id
        )
    )
  union all
  select queue, id, kind, run_at
  from queue.jobs
  where hold = 'until_due' and run_at <= now()
)
select distinct on (queue)
  queue as "queue!",
  id as "id!",
  kind as "kind!",
  extract(epoch from now() - run_at)::float8 as "waited_secs!",
  exists (select from queue.limits where limits.queue = next_job.queue) as "is_limited!"
from next_job
where not exists (select from queue.pauses where pauses.queue in (next_job.queue, '*'))
order by queue, run_at, id
