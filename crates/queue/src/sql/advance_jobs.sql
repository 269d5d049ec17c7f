-- Moves all times of unfinished jobs $1 seconds into the past, for tests. Locks the rows in id order first, as every
-- statement that locks several jobs.
with locked as materialized (
  select id
  from queue.jobs
  order by id
  for update
)
update queue.jobs
set
  run_at = run_at - make_interval(secs => $1),
  enqueued_at = enqueued_at - make_interval(secs => $1),
  started_at = started_at - make_interval(secs => $1),
  lease_expires_at = lease_expires_at - make_interval(secs => $1)
from locked
where jobs.id = locked.id
