-- The queues after $2 in the order of names, at most $3; of queue $4 alone if it is not null. A queue is what has unfinished
-- jobs, a pause or limits. Each with its jobs counted up to $1 of each sort, and its oldest due job.
--
-- The names are found by leaps through the indexes, and each count reads at most some times $1 entries of an index, however
-- many jobs there are: of the jobs that wait for a time, those that come first are looked at.
with recursive by_time as (
  (
    select queue from queue.jobs
    where not running and key is null and hold is null and queue > $2 and ($4::text is null or queue = $4)
    order by queue
    limit 1
  )
  union all
  select (
    select jobs.queue
    from queue.jobs
    where jobs.queue > by_time.queue and not running and key is null and hold is null and $4 is null
    order by jobs.queue
    limit 1
  )
  from by_time
  where by_time.queue is not null
),
by_key as (
  (
    select queue from queue.jobs
    where key is not null and queue > $2 and ($4 is null or queue = $4)
    order by queue
    limit 1
  )
  union all
  select (
    select jobs.queue
    from queue.jobs
    where jobs.queue > by_key.queue and key is not null and $4 is null
    order by jobs.queue
    limit 1
  )
  from by_key
  where by_key.queue is not null
),
every_name as (
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
),
named as materialized (
  select queue from every_name where queue > $2 and ($4 is null or queue = $4) order by queue limit $3
)
select
  named.queue as "queue!",
  (select count(*) from (
    select from queue.jobs where jobs.queue = named.queue and running limit $1
  ) as counted) as "running!",
  least($1, due.plain + due.keyed + due.held) as "available!",
  least($1, later.retryable) as "retryable!",
  least($1, later.scheduled + later.dependent) as "scheduled!",
  (select min(run_at) from (
    -- Of each priority by itself: in that order the index has them.
    select first_due.run_at
    from unnest('{1,2,3,4}'::smallint[]) as level (priority)
    cross join lateral (
      select run_at from queue.jobs
      where jobs.queue = named.queue and jobs.priority = level.priority
        and not running and key is null and hold is null and run_at <= now()
      order by run_at
      limit 1
    ) as first_due
    union all
    (select run_at from queue.jobs
     where jobs.queue = named.queue and not running and key is not null and hold is null and run_at <= now()
     limit 1000)
  ) as due) as oldest_due,
  pause.paused_by as "paused_by?", pause.reason as "pause_reason?", pause.paused_at as "paused_at?",
  (select count(*) from queue.blocked_keys where blocked_keys.queue = named.queue) as "blocked_keys!"
from named
cross join lateral (
  select
    (select count(*) from (
      select from queue.jobs
      where jobs.queue = named.queue and priority = any ('{1,2,3,4}') and run_at <= statement_timestamp()
        and not running and key is null and hold is null
      limit $1
    ) as counted) as plain,
    (select count(*) filter (where run_at <= statement_timestamp()) from (
      select run_at from queue.jobs
      where jobs.queue = named.queue and not running and key is not null and hold is null
      limit $1
    ) as counted) as keyed,
    -- Somebody lets them go in a moment.
    (select count(*) from (
      select from queue.jobs
      where jobs.queue = named.queue and hold = 'until_due' and run_at <= statement_timestamp()
      limit $1
    ) as counted) as held
) as due
cross join lateral (
  select
    count(*) filter (where attempt > 0) as retryable,
    count(*) filter (where attempt = 0) as scheduled,
    (select count(*) from (
      select from queue.jobs where jobs.queue = named.queue and hold = 'dependencies' limit $1
    ) as counted) as dependent
  from (
    (select attempt from queue.jobs
     where jobs.queue = named.queue and priority = any ('{1,2,3,4}') and run_at > statement_timestamp()
       and not running and key is null and hold is null
     limit $1)
    union all
    (select attempt from queue.jobs
     where jobs.queue = named.queue and hold = 'until_due' and run_at > statement_timestamp()
     order by run_at
     limit $1)
  ) as future
) as later
left join lateral (
  select paused_by, reason, paused_at from queue.pauses where pauses.queue in (named.queue, '*') order by pauses.queue limit 1
) as pause on true
order by named.queue
