-- Ends a failed attempt of job $1 under fence $2; the job waits $3 seconds and runs again. $4 is how the attempt
-- ended, $5 the error, $6 the attempt's traceparent. A queue whose rule is to park
-- failing keys parks the job's. Returns whether the job is to be
-- cancelled now that it waits; no row when it belongs to another worker by now.
with mine as materialized (
  select id, queue, key, attempt, fence, worker_id, started_at, cancel_reason is not null as to_be_cancelled
  from queue.jobs
  where id = $1 and fence = $2 and running
  for update
),
waiting as (
  update queue.jobs
  set
    running = false,
    fence = null,
    worker_id = null,
    started_at = null,
    lease_expires_at = null,
    run_at = clock_timestamp() + make_interval(secs => $3),
    hold = case when jobs.key is not null and $3 > 0 then 'until_due'::queue.hold end,
    last_traceparent = coalesce($6, jobs.last_traceparent),
    failure = queue.failure_of(jobs.kind, $5),
    failed_at = clock_timestamp()
  from mine
  where jobs.id = mine.id
),
parked as (
  insert into queue.blocked_keys (queue, key, job_id, cause)
  select mine.queue, mine.key, mine.id, 'parked'
  from mine
  join queue.limits on limits.queue = mine.queue
  where mine.key is not null and limits.ordered and limits.on_poison = 'park'
  on conflict do nothing
),
attempt as (
  insert into queue.attempts (job_id, attempt, fence, worker_id, started_at, outcome, error, traceparent)
  select id, attempt, fence, worker_id, started_at, $4, $5, $6
  from mine
)
select to_be_cancelled as "to_be_cancelled!" from mine
