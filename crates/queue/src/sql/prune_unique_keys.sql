-- Forgets up to $1 reservations of unique jobs that refuse nobody any more: their window is over, or they have none and
-- their job is not even in the history. Whoever is deciding about one in this moment has it locked.
with prunable as materialized (
  select key
  from queue.unique_keys as reserved
  where reserved.expires_at < clock_timestamp()
    or (
      reserved.expires_at is null
      and not exists (select from queue.jobs where jobs.id = reserved.job_id)
      and not exists (select from queue.finished_jobs where finished_jobs.id = reserved.job_id)
    )
  limit $1
  for update of reserved skip locked
)
delete from queue.unique_keys
using prunable
where unique_keys.key = prunable.key
