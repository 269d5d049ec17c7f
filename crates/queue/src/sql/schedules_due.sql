-- Schedules with a tick up to a second from now, the earliest first, and those that were settled later than now: then
-- the clock was set back. $1 stands for the database's clock in tests; null otherwise. Each worker asks this once a
-- second, so both parts are index probes that mostly find nothing. A transaction that takes a while may have begun
-- before another one that it sees the work of; hence the 5 s.
(
  select
    name as "name!",
    extract(epoch from next_tick_at - coalesce($1::timestamptz, now()))::float8 as "due_in_secs!"
  from queue.schedules
  where paused_at is null
    and next_tick_at <= coalesce($1, now()) + interval '1 s'
  order by next_tick_at
  limit $2
)
union all
(
  select name, 0
  from queue.schedules
  where paused_at is null
    and settled_at > coalesce($1, now()) + interval '5 s'
  limit $2
)
