-- Locks a schedule, however long that takes.
select true as "locked!"
from queue.schedules
where name = $1
for no key update
