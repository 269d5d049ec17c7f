-- Of each queue with at least 20 among the 2,000 jobs that were completed last (by number), the wait from due to start
-- that 95 in 100 did not exceed.
with newest as materialized (
  select id, queue, attempt, run_at, finished_at
  from queue.finished_jobs_completed
  order by id desc
  limit 2000
)
select
  newest.queue as "queue!",
  percentile_disc(0.95) within group (
    order by greatest(extract(epoch from last_attempt.started_at - newest.run_at)::float8, 0)
  ) as "secs!"
from newest
cross join lateral (
  select attempts.started_at
  from queue.attempts
  where attempts.job_id = newest.id
    and attempts.attempt = newest.attempt
    -- Spares the lookup most partitions.
    and attempts.ended_at between newest.finished_at - interval '1 hour' and newest.finished_at + interval '1 hour'
  limit 1
) as last_attempt
group by newest.queue
having count(*) >= 20
