-- Takes ticks of a schedule, each once for ever: returns those that nobody had taken.
insert into queue.schedule_ticks (schedule, tick_at)
select $1, tick_at
from unnest($2::timestamptz[]) as tick (tick_at)
on conflict (schedule, tick_at) do nothing
returning tick_at
