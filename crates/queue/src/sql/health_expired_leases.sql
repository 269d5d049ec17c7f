-- Running jobs whose lease is over: how many, and the one that is over for longest.
select
  count(*) as "expired!",
  min(id) as first_id,
  extract(epoch from now() - min(lease_expires_at))::float8 as longest_secs
from queue.jobs
where running and lease_expires_at < now()
