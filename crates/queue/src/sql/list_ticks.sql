-- The ticks of a schedule, newest first.
select tick_at, job_id as "job_id: JobId", requested_by, made_at
from queue.schedule_ticks
where schedule = $1
order by tick_at desc
limit $2
