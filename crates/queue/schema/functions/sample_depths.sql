-- Looks how many due jobs wait in each queue, counted up to `most`, and how old the oldest is, unless somebody has done
-- so in this minute. Looks at 1,000 keys of a queue at most for its oldest job.
--
-- The names of queues are found by leaps through the indexes, and due jobs come first in them: what is scheduled is not
-- read, nor is anything of the history.
create or replace function queue.sample_depths(most bigint) returns boolean
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
  -- A variable, because an index is not searched by what may change from row to row.
  moment timestamptz := clock_timestamp();
  this_minute timestamptz := date_trunc('minute', moment, 'UTC');
begin
  if exists (select from queue.depths where step = 'minute' and at = this_minute and queue = '') then
    return false;
  end if;
  -- One at a time; the others need not wait, because one is enough.
  if not pg_try_advisory_xact_lock(hashtextextended('queue.sample_depths', 0)) then
    return false;
  end if;
  insert into queue.depths as old (step, at, queue, waiting, oldest_secs)
  with recursive named as (
    (select jobs.queue from queue.jobs where not running and key is null and hold is null order by jobs.queue limit 1)
    union all
    select (
      select jobs.queue from queue.jobs
      where jobs.queue > named.queue and not running and key is null and hold is null
      order by jobs.queue limit 1
    )
    from named where named.queue is not null
  ),
  named_by_key as (
    (
      select jobs.queue from queue.jobs where not running and key is not null and hold is null
      order by jobs.queue limit 1
    )
    union all
    select (
      select jobs.queue from queue.jobs
      where jobs.queue > named_by_key.queue and not running and key is not null and hold is null
      order by jobs.queue limit 1
    )
    from named_by_key where named_by_key.queue is not null
  ),
  waiting as (
    select
      every.queue,
      least(most, by_time.jobs + by_key.jobs) as jobs,
      extract(epoch from moment - least(by_time.oldest, by_key.oldest))::float8 as oldest_secs
    from (select queue from named union select queue from named_by_key) as every
    cross join lateral (
      select sum(lane.jobs)::bigint as jobs, min(lane.oldest) as oldest
      from unnest('{1,2,3,4}'::smallint[]) as levels (priority)
      cross join lateral (
        select count(*) as jobs, min(due.run_at) as oldest
        from (
          select jobs.run_at from queue.jobs
          where jobs.queue = every.queue and jobs.priority = levels.priority
            and not running and key is null and hold is null and jobs.run_at <= moment
          order by jobs.run_at limit most
        ) as due
      ) as lane
    ) as by_time
    cross join lateral (
      select count(*) as jobs, min(due.run_at) filter (where due.place <= 1000) as oldest
      from (
        select jobs.run_at, row_number() over () as place from queue.jobs
        where jobs.queue = every.queue and not running and key is not null and hold is null
          and jobs.run_at <= moment
        limit most
      ) as due
    ) as by_key
    where every.queue is not null
  ),
  seen as (
    select queue, jobs, oldest_secs from waiting where jobs > 0
    union all
    -- There even if nothing waits: somebody has looked.
    select '', coalesce(sum(jobs), 0)::bigint, max(oldest_secs) from waiting
  )
  select steps.step, date_bin(steps.width, this_minute, timestamptz 'epoch'), seen.queue, seen.jobs, seen.oldest_secs
  from seen
  cross join (values
    ('minute'::queue.activity_step, interval '1 minute'), ('quarter', interval '15 minutes'),
    ('hour', interval '1 hour'), ('day', interval '1 day')
  ) as steps (step, width)
  order by steps.step, seen.queue collate "C"
  on conflict (step, at, queue) do update
  set
    waiting = greatest(old.waiting, excluded.waiting),
    oldest_secs = greatest(old.oldest_secs, excluded.oldest_secs);
  return true;
end $$;
