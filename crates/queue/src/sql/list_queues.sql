-- Every queue that has unfinished jobs, a pause or limits, with its jobs counted up to $1 of each sort, and its oldest due
-- job. The names are found by leaps through the indexes, not by reading them.
with recursive by_time as (
  (select queue from queue.jobs where not running and key is null and hold is null order by queue limit 1)
  union all
  select (
    select jobs.queue
    from queue.jobs
    where jobs.queue > by_time.queue and not running and key is null and hold is null
    order by jobs.queue
    limit 1
  )
  from by_time
  where by_time.queue is not null
),
by_key as (
  (select queue from queue.jobs where key is not null order by queue limit 1)
  union all
  select (
    select jobs.queue from queue.jobs where jobs.queue > by_key.queue and key is not null order by jobs.queue limit 1
  )
  from by_key
  where by_key.queue is not null
),
named as (
  select queue from by_time
  union
  select queue from by_key
  union
  select queue from (select distinct queue from queue.jobs where running) as running
  union
  select queue from (select distinct queue from queue.jobs where hold = 'dependencies') as held
  union
  select queue from queue.pauses where queue <> '*'
  union
  select queue from queue.limits
)
select
  named.queue as "queue!",
  (select count(*) from (
    select from queue.jobs where jobs.queue = named.queue and running limit $1
  ) as counted) as "running!",
  (select count(*) from (
    select from queue.jobs
    where jobs.queue = named.queue and not running and queue.state_of(jobs) = 'available' limit $1
  ) as counted) as "available!",
  (select count(*) from (
    select from queue.jobs
    where jobs.queue = named.queue and not running and queue.state_of(jobs) = 'retryable' limit $1
  ) as counted) as "retryable!",
  (select count(*) from (
    select from queue.jobs
    where jobs.queue = named.queue and not running and queue.state_of(jobs) = 'scheduled' limit $1
  ) as counted) as "scheduled!",
  (select min(run_at) from (
    (select run_at from queue.jobs
     where jobs.queue = named.queue and not running and key is null and hold is null and run_at <= now()
     order by run_at limit 1)
    union all
    (select run_at from queue.jobs
     where jobs.queue = named.queue and not running and key is not null and hold is null and run_at <= now()
     limit 1000)
  ) as due) as oldest_due,
  pause.paused_by as "paused_by?", pause.reason as "pause_reason?", pause.paused_at as "paused_at?",
  (select count(*) from queue.blocked_keys where blocked_keys.queue = named.queue) as "blocked_keys!"
from named
left join lateral (
  select paused_by, reason, paused_at from queue.pauses where pauses.queue in (named.queue, '*') order by pauses.queue limit 1
) as pause on true
where named.queue is not null
order by named.queue
