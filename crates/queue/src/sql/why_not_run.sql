-- What bears on when unfinished job $1 runs. No row when it has ended, or there is none.
select
  clock_timestamp() as "now!", job.queue, job.kind, job.priority, job.running, job.hold as "hold: Hold", job.run_at,
  job.attempt, job.max_attempts, job.wait_reason, job.key, job.worker_id, job.started_at, job.lease_expires_at,
  job.progress, job.progress_text, job.cancel_requested_by, job.cancel_reason,
  last_attempt.error as "last_error?",
  pause.queue as "paused_queue?", pause.paused_by as "paused_by?", pause.reason as "pause_reason?",
  pause.paused_at as "paused_at?",
  limits.max_running as "max_running?", limits.max_running_per_key as "max_running_per_key?",
  coalesce(limits.ordered, false) as "is_ordered!",
  case when of_queue.room = 0 then limits.rate when of_key.room = 0 then limits.rate_per_key end as "used_up_rate?",
  extract(epoch from limits.rate_period)::float8 as "rate_period_secs?",
  coalesce(of_queue.again_in, of_key.again_in) as "starts_in_secs?",
  blocked.job_id as "blocked_by?: JobId", blocked.cause as "block_cause?: BlockCause", blocked.since as "blocked_since?",
  -- At most as many rows as all workers together have slots.
  (select count(*) from queue.jobs as other where other.running and other.queue = job.queue) as "running_of_queue!",
  (select count(*)
   from queue.jobs as other
   where other.running and other.queue = job.queue and other.key = job.key) as "running_of_key!"
from queue.jobs as job
left join lateral (
  select attempts.error
  from queue.attempts
  where attempts.job_id = job.id
    and attempts.attempt = job.attempt
    and attempts.ended_at >= job.enqueued_at
  limit 1
) as last_attempt on not job.running and job.attempt > 0
left join lateral (
  select pauses.queue, pauses.paused_by, pauses.reason, pauses.paused_at
  from queue.pauses
  where pauses.queue in (job.queue, '*')
  order by pauses.queue <> '*'
  limit 1
) as pause on true
left join queue.limits on limits.queue = job.queue
left join lateral queue.room_of_rate(job.queue, '', limits.rate, limits.rate_period) as of_queue
  on limits.rate is not null
left join lateral queue.room_of_rate(job.queue, job.key, limits.rate_per_key, limits.rate_period) as of_key
  on limits.rate_per_key is not null and job.key is not null
left join queue.blocked_keys as blocked on blocked.queue = job.queue and blocked.key = job.key and limits.ordered
where job.id = $1
