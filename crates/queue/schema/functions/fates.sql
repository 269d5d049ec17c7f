-- The fates of jobs, for those that wait for them: 'unfinished', 'completed', 'cancelled', 'discarded', 'dismissed'
-- (discarded, and it will not be redriven), or 'gone': nothing is left of it.
--
-- In plpgsql, which keeps the plan: to plan for all partitions of the history takes longer than to look into them.
create or replace function queue.fates(ids bigint[]) returns table (id bigint, fate text)
language plpgsql stable
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
  return query
  select
    known.id,
    case
      when known.fate = 'discarded'
        and exists (
          select from queue.resolutions where resolutions.job_id = known.id and resolutions.resolution = 'dismissed'
        )
      then 'dismissed'
      else known.fate
    end
  from (
    select
      asked.id,
      coalesce(
        case when exists (select from queue.jobs where jobs.id = asked.id) then 'unfinished' end,
        -- Most have ended just now: that spares the look into every partition of the history.
        (
          select finished.state::text
          from queue.finished_jobs as finished
          where finished.id = asked.id and finished.finished_at >= now() - interval '1 hour'
          limit 1
        ),
        (select finished.state::text from queue.finished_jobs as finished where finished.id = asked.id limit 1),
        'gone'
      ) as fate
    from unnest(ids) as asked (id)
  ) as known;
end $$;
