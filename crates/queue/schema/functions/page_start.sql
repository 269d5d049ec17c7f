-- The start of a page of jobs that is read newest first: the id down to which `jobs` of them are before id `before`,
-- of those from id `lowest` on; null when there are fewer. Counted are the finished ones in `states` that ended
-- `since` or later, and with `unfinished` those that wait or run.
--
-- A function, because the plan must be one that reads ids in order from the indexes of all partitions and stops: the
-- planner would as soon read everything and sort it. The states one by one, and `since`, because the partitions are by
-- both: those that have none such are not even opened.
create or replace function queue.page_start(
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
