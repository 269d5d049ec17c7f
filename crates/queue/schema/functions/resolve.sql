-- Does all that follows from the end of these jobs, for at most `max_jobs` that wait for them: after the commit that
-- ended them, in a transaction of its own at READ COMMITTED. Gives the jobs that were cancelled, whose end is to be
-- resolved in turn, how many jobs may run now, and whether the limit was reached: then call again.
create or replace function queue.resolve(ids bigint[], max_jobs int, out cancelled bigint[], out woken int, out has_more boolean)
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  waiting bigint[];
  parents bigint[];
  parents_fates text[];
  batches bigint[];
begin
  with parent as materialized (
    select fates.id, fates.fate
    from queue.fates(
      array(select id from unnest(ids) as id where exists (select from queue.dependencies where depends_on = id))
    ) as fates
    where fates.fate <> 'unfinished'
  )
  select array_agg(found.job_id), array_agg(found.depends_on), array_agg(found.fate)
  into waiting, parents, parents_fates
  from (
    select dependency.job_id, dependency.depends_on, parent.fate
    from parent
    join queue.dependencies as dependency on dependency.depends_on = parent.id
    -- Those that wait on for a redrive have been told.
    where not (parent.fate = 'discarded' and dependency.if_failed = 'wait' and dependency.parent_failed)
    limit max_jobs
  ) as found;
  has_more := coalesce(cardinality(waiting), 0) >= max_jobs;

  cancelled := '{}';
  woken := 0;
  if waiting is not null then
    select settled.cancelled, settled.released
    into cancelled, woken
    from queue.settle_waiting(waiting, parents, parents_fates) as settled;
  end if;

  batches := array(
    select distinct batch_id
    from queue.finished_jobs
    where id = any (ids) and batch_id is not null and finished_at >= now() - interval '1 hour'
  );
  if batches <> '{}' then
    woken := woken + queue.settle_batches(batches);
  end if;
end $$;
