-- Says which jobs the ticks, which the caller has just taken, got.
update queue.schedule_ticks
set job_id = link.job_id
from unnest($2::timestamptz[], $3::bigint[]) as link (tick_at, job_id)
where schedule_ticks.schedule = $1
  and schedule_ticks.tick_at = link.tick_at
