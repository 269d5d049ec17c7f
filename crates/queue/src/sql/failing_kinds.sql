-- Kinds whose jobs failed and are to be tried again, those with the most jobs first; at most $2. Of each queue, priority and
-- state the first $1 jobs are looked at that are due, and the first $1 that come next: a backlog of new jobs hides no
-- retries, nor do jobs of next year.
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
keyed (queue) as (
  (select queue from queue.jobs where hold = 'until_due' order by queue limit 1)
  union all
  select (
    select jobs.queue from queue.jobs where hold = 'until_due' and jobs.queue > keyed.queue order by jobs.queue limit 1
  )
  from keyed
  where keyed.queue is not null
),
examined as (
  select plain.*
  from lane
  cross join lateral (
    (select id, queue, kind, attempt
     from queue.jobs
     where not running and key is null and hold is null
       and jobs.queue = lane.queue and jobs.priority = lane.priority and run_at <= statement_timestamp()
     order by run_at
     limit $1)
    union all
    (select id, queue, kind, attempt
     from queue.jobs
     where not running and key is null and hold is null
       and jobs.queue = lane.queue and jobs.priority = lane.priority and run_at > statement_timestamp()
     order by run_at
     limit $1)
  ) as plain
  union all
  select held.*
  from keyed
  cross join lateral (
    select id, queue, kind, attempt
    from queue.jobs
    where hold = 'until_due' and jobs.queue = keyed.queue
    order by run_at
    limit $1
  ) as held
),
failing as (
  select queue, kind, count(*) as jobs, max(id) as sample_job
  from examined
  where attempt > 0
  group by queue, kind
  order by jobs desc, queue, kind
  limit $2
)
select
  failing.queue as "queue!", failing.kind as "kind!", failing.jobs as "jobs!",
  failing.sample_job as "sample_job!: JobId", last_attempt.error as "error?", last_attempt.ended_at as "failed_at?"
from failing
left join lateral (
  select attempts.error, attempts.ended_at
  from queue.attempts
  where attempts.job_id = failing.sample_job and attempts.error is not null
  order by attempts.attempt desc
  limit 1
) as last_attempt on true
order by failing.jobs desc, failing.queue, failing.kind
