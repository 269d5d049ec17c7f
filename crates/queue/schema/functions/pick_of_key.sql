-- Picks and locks up to `max_jobs` due jobs of one key in a queue, by priority and time.
create or replace function queue.pick_of_key(picked_queue text, picked_key text, kinds text[], max_jobs int) returns bigint[]
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
as $$
begin
  return (
    with due as materialized (
      select job.id
      from unnest(array[1, 2, 3, 4]::smallint[]) as lane (priority)
      cross join lateral (
        select jobs.id
        from queue.jobs
        where jobs.queue = picked_queue
          and jobs.key = picked_key
          and jobs.priority = lane.priority
          and not jobs.running
          and jobs.key is not null
          and jobs.hold is null
          and jobs.run_at <= clock_timestamp()
          and jobs.kind = any (kinds)
        order by jobs.run_at, jobs.id
        limit max_jobs
        for update skip locked
      ) as job
      limit max_jobs
    )
    select coalesce(array_agg(due.id), '{}') from due
  );
end $$;
