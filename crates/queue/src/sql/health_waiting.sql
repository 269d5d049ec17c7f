-- Every queue with unfinished jobs: its jobs by state, available ones up to $1 and those of later up to $2, and how long
-- the oldest due one has waited. Reads by index, and the number of jobs does not matter: the names of queues are found
-- by leaps, and counts end at their bound. Of a queue with keys 1,000 are looked at for its oldest job.
with recursive by_time as (
  (select queue from queue.jobs where not running and key is null and hold is null order by queue limit 1)
  union all
  select (
    select jobs.queue from queue.jobs
    where jobs.queue > by_time.queue and not running and key is null and hold is null
    order by jobs.queue limit 1
  )
  from by_time where by_time.queue is not null
),
by_key as (
  (select queue from queue.jobs where not running and key is not null and hold is null order by queue limit 1)
  union all
  select (
    select jobs.queue from queue.jobs
    where jobs.queue > by_key.queue and not running and key is not null and hold is null
    order by jobs.queue limit 1
  )
  from by_key where by_key.queue is not null
),
until_due as (
  (select queue from queue.jobs where hold = 'until_due' order by queue limit 1)
  union all
  select (
    select jobs.queue from queue.jobs
    where jobs.queue > until_due.queue and hold = 'until_due' order by jobs.queue limit 1
  )
  from until_due where until_due.queue is not null
),
running as (
  select queue, count(*) as jobs
  from (select queue from queue.jobs where running order by id limit $1) as few
  group by queue
),
held as (
  select queue, count(*) as jobs
  from (select queue from queue.jobs where hold = 'dependencies' order by id limit $2) as few
  group by queue
),
named as (
  select queue from by_time union select queue from by_key union select queue from until_due
  union select queue from running union select queue from held
)
select
  named.queue as "queue!",
  coalesce((select jobs from running where running.queue = named.queue), 0) as "running!",
  least(due.jobs + due_by_key.jobs + let_go.jobs, $1) as "available!",
  least(
    later.scheduled + later_held.scheduled
      + coalesce((select jobs from held where held.queue = named.queue), 0),
    $2
  ) as "scheduled!",
  least(later.retryable + later_held.retryable, $2) as "retryable!",
  extract(epoch from clock_timestamp() - least(due.oldest, due_by_key.oldest, let_go.oldest))::float8 as oldest_secs
from named
cross join lateral (
  select coalesce(sum(lane.jobs), 0)::bigint as jobs, min(lane.oldest) as oldest
  from unnest('{1,2,3,4}'::smallint[]) as levels (priority)
  cross join lateral (
    select count(*) as jobs, min(few.run_at) as oldest
    from (
      select jobs.run_at from queue.jobs
      where jobs.queue = named.queue and jobs.priority = levels.priority
        and not running and key is null and hold is null and jobs.run_at <= statement_timestamp()
      order by jobs.run_at limit $1
    ) as few
  ) as lane
) as due
cross join lateral (
  select count(*) as jobs, min(few.run_at) filter (where few.place <= 1000) as oldest
  from (
    select jobs.run_at, row_number() over () as place from queue.jobs
    where jobs.queue = named.queue and not running and key is not null and hold is null
      and jobs.run_at <= statement_timestamp()
    limit $1
  ) as few
) as due_by_key
-- Due, and somebody will let them go in a moment.
cross join lateral (
  select count(*) as jobs, min(few.run_at) as oldest
  from (
    select jobs.run_at from queue.jobs
    where jobs.queue = named.queue and hold = 'until_due' and jobs.run_at <= statement_timestamp()
    order by jobs.run_at limit $1
  ) as few
) as let_go
cross join lateral (
  select
    coalesce(sum(lane.scheduled), 0)::bigint as scheduled, coalesce(sum(lane.retryable), 0)::bigint as retryable
  from unnest('{1,2,3,4}'::smallint[]) as levels (priority)
  cross join lateral (
    select count(*) filter (where few.attempt = 0) as scheduled, count(*) filter (where few.attempt > 0) as retryable
    from (
      select jobs.attempt from queue.jobs
      where jobs.queue = named.queue and jobs.priority = levels.priority
        and not running and key is null and hold is null and jobs.run_at > statement_timestamp()
      order by jobs.run_at limit $2
    ) as few
  ) as lane
) as later
cross join lateral (
  select count(*) filter (where few.attempt = 0) as scheduled, count(*) filter (where few.attempt > 0) as retryable
  from (
    select jobs.attempt from queue.jobs
    where jobs.queue = named.queue and hold = 'until_due' and jobs.run_at > statement_timestamp()
    order by jobs.run_at limit $2
  ) as few
) as later_held
where named.queue is not null
order by named.queue
