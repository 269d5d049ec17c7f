-- Moves the starts that rates count $1 seconds into the past, for tests. Not by an update, which would move one slot to
-- where another one still is; the order has all of them deleted before the first is inserted.
with gone as (
  delete from queue.starts
  returning *
)
insert into queue.starts (queue, key, slot, started)
select queue, key, slot - make_interval(secs => $1), started
from gone
order by slot
