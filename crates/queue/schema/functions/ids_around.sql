-- The place of a moment among the ids: all jobs up to `last_before` were enqueued before it, all from
-- `first_after` on at it or later, and there are few in between. For lists by time, which go by id.
--
-- Ids are drawn in order, each shortly before its job's enqueued_at is read from the clock. In between, a job that is
-- unique may wait for another transaction: so whoever asks for a list asks for a moment an hour apart.
create or replace function queue.ids_around(moment timestamptz) returns table (last_before bigint, first_after bigint)
language plpgsql stable
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set max_parallel_workers_per_gather = 0
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
  middle bigint;
  waiting record;
  finished record;
  found_id bigint;
begin
  last_before := 0;
  select max(jobs.id) into first_after from queue.jobs;
  first_after := greatest(first_after, (select max(finished_jobs.id) from queue.finished_jobs), 0) + 1;
  while first_after - last_before > 1000 loop
    middle := last_before + (first_after - last_before) / 2;
    select jobs.id, jobs.enqueued_at into waiting
    from queue.jobs
    where jobs.id > last_before and jobs.id <= middle
    order by jobs.id desc
    limit 1;
    select finished_jobs.id, finished_jobs.enqueued_at into finished
    from queue.finished_jobs
    where finished_jobs.id > last_before and finished_jobs.id <= middle
    order by finished_jobs.id desc
    limit 1;
    found_id := greatest(waiting.id, finished.id);
    if found_id is null
      or (case found_id when waiting.id then waiting.enqueued_at else finished.enqueued_at end) < moment
    then
      -- There is no job from the one that was found to the middle.
      last_before := middle;
    else
      first_after := found_id;
    end if;
  end loop;
  return next;
end $$;
