-- Locks the row of job $1 under fence $2, so that nobody else can take the job until the transaction ends. No row when it
-- belongs to another worker by now.
select true as "locked!"
from queue.jobs
where id = $1 and fence = $2 and running
for no key update
