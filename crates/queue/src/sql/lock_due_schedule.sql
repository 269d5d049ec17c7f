-- Locks a schedule that is due, or was settled later than now, unless somebody else has it: whoever that is sees to it.
select true as "locked!"
from queue.schedules
where name = $1
  and paused_at is null
  and (
    next_tick_at <= coalesce($2::timestamptz, now())
    or settled_at > coalesce($2, now()) + interval '5 s'
  )
for no key update skip locked
