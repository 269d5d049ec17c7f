-- How the queue stands, in numbers: discarded jobs among the newest $1 that nobody has decided over; what is paused and
-- blocked; workers and their slots; schedules, each up to $2.
select
  (
    select count(*)
    from (
      select id, attempt from queue.finished_jobs_discarded order by finished_at desc, id desc limit $1
    ) as job
    where not exists (
      select from queue.resolutions as resolved
      where resolved.job_id = job.id and resolved.attempt = job.attempt
    )
  ) as "undecided!",
  (select count(*) from (select from queue.pauses limit $2) as few) as "paused!",
  (select count(*) from (select from queue.blocked_keys limit $2) as few) as "blocked_keys!",
  worker.working as "working!", worker.draining as "draining!", worker.lost as "lost!",
  worker.slots as "slots!", worker.busy as "busy!",
  schedule.active as "active_schedules!", schedule.paused as "paused_schedules!",
  schedule.lag_secs as "schedule_lag_secs!"
from (
  select
    count(*) filter (where is_live and draining_at is null) as working,
    count(*) filter (where is_live and draining_at is not null) as draining,
    count(*) filter (where not is_live) as lost,
    coalesce(sum(slots) filter (where is_live), 0)::bigint as slots,
    coalesce(sum(running) filter (where is_live), 0)::bigint as busy
  from (
    select draining_at, slots, running, last_seen_at >= clock_timestamp() - lease as is_live
    from queue.workers
    limit 10000
  ) as few
) as worker
cross join (
  select
    count(*) filter (where paused_at is null) as active,
    count(*) filter (where paused_at is not null) as paused,
    coalesce(
      extract(epoch from max(clock_timestamp() - next_tick_at)
        filter (where paused_at is null and next_tick_at < clock_timestamp())),
      0
    )::float8 as lag_secs
  from (select paused_at, next_tick_at from queue.schedules limit $2) as few
) as schedule
