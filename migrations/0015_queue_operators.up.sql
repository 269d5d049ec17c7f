-- What operators ask of the queue.

-- Where a page of jobs that is read newest first begins: the id down to which `jobs` of them are before id `before`,
-- of those from id `lowest` on; null when there are fewer. Counted are the finished ones in `states` that ended
-- `since` or later, and with `unfinished` those that wait or run.
--
-- A function, because the plan must be one that reads ids in order from the indexes of all partitions and stops: the
-- planner would as soon read everything and sort it. The states one by one, and `since`, because the partitions are by
-- both: those that have none such are not even opened.
create function queue.page_start(
  before bigint, lowest bigint, jobs int, unfinished boolean, states queue.finished_state[], since timestamptz
) returns bigint
language plpgsql stable
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set max_parallel_workers_per_gather = 0
set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
  return (
    select id
    from (
      (select jobs.id
       from queue.jobs
       where unfinished and jobs.id < before and jobs.id >= lowest
       order by jobs.id desc
       limit page_start.jobs)
      union all
      (select finished_jobs.id
       from queue.finished_jobs
       where finished_jobs.state = 'completed'
         and 'completed' = any (states)
         and finished_jobs.id < before
         and finished_jobs.id >= lowest
         and finished_jobs.finished_at >= since
       order by finished_jobs.id desc
       limit page_start.jobs)
      union all
      (select finished_jobs.id
       from queue.finished_jobs
       where finished_jobs.state = 'cancelled'
         and 'cancelled' = any (states)
         and finished_jobs.id < before
         and finished_jobs.id >= lowest
         and finished_jobs.finished_at >= since
       order by finished_jobs.id desc
       limit page_start.jobs)
      union all
      (select finished_jobs.id
       from queue.finished_jobs
       where finished_jobs.state = 'discarded'
         and 'discarded' = any (states)
         and finished_jobs.id < before
         and finished_jobs.id >= lowest
         and finished_jobs.finished_at >= since
       order by finished_jobs.id desc
       limit page_start.jobs)
    ) as job
    order by id desc
    offset page_start.jobs - 1
    limit 1
  );
end $$;

-- Where the jobs of a moment are among the ids: all jobs up to `last_before` were enqueued before it, all from
-- `first_after` on at it or later, and there are few in between. For lists by time, which go by id.
--
-- Ids are drawn in order, each shortly before its job's enqueued_at is read from the clock. In between, a job that is
-- unique may wait for another transaction: so whoever asks for a list asks for a moment an hour apart.
create function queue.ids_around(moment timestamptz) returns table (last_before bigint, first_after bigint)
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
