-- Picks and locks the head of a key of an ordered queue, if it waits for nothing but a worker: the oldest of its jobs,
-- whatever its priority and time.
create or replace function queue.pick_head(picked_queue text, picked_key text) returns bigint[]
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
as $$
begin
  return (
    with head as materialized (
      select jobs.id
      from queue.jobs
      where jobs.queue = picked_queue and jobs.key = picked_key
      order by jobs.id
      limit 1
    ),
    locked as materialized (
      select jobs.id
      from queue.jobs
      join head on head.id = jobs.id
      where not jobs.running and jobs.hold is null
      for update of jobs skip locked
    )
    select coalesce(array_agg(locked.id), '{}') from locked
  );
end $$;
