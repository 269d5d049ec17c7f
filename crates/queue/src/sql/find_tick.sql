-- The tick that a job is for: the last one, if it does for several.
select
  schedule as "schedule!", max(tick_at) as "tick_at!", min(tick_at) as "first_tick_at!", count(*) as "ticks!",
  max(requested_by) as requested_by
from queue.schedule_ticks
where job_id = $1
group by schedule
