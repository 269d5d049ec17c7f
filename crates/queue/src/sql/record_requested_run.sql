-- Records a run that somebody asked for, at a moment that is no tick of the clock: those are whole seconds.
insert into queue.schedule_ticks (schedule, tick_at, job_id, requested_by)
select
  $1,
  case when moment = date_trunc('second', moment) then moment + interval '1 microsecond' else moment end,
  $2,
  $3
from clock_timestamp() as clock (moment)
