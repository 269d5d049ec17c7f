-- Tables of the history that have more days to drop than are dropped at once, and for how long, by the database's clock.
select
  history, held_back, clock_timestamp() as "now!",
  extract(epoch from clock_timestamp() - held_back_since)::float8 as "held_back_secs!"
from queue.retention
where held_back > 0
order by history
