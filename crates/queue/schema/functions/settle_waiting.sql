-- Settles dependencies by the fates of the jobs that others wait for: dependency n is that of job waiting[n] on
-- depends_on[n], whose fate is fates[n]. Jobs without a dependency left are released, those that can no longer be are
-- cancelled, and told so that the cancelling can be resolved in turn.
create or replace function queue.settle_waiting(
  waiting bigint[], parents bigint[], parents_fates text[], out cancelled bigint[], out released int
)
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set lock_timeout = '500ms'
as $$
declare
  locked bigint[];
  hopeless record;
begin
  cancelled := '{}';
  -- Released jobs must not appear behind a moment that claims have passed (worker/claim/floor.rs): the transaction gets
  -- its id before the clock is read.
  perform pg_current_xact_id();
  -- Two that delete the last two dependencies of a job at the same time would each see that of the other, and neither
  -- release the job. So one waits here for the other, and the statements below see what it has done. Should somebody
  -- else keep a row locked for long, the others need not wait for that: the sweep comes back for it.
  begin
    locked := array(
      select id from queue.jobs where id = any (waiting) and hold = 'dependencies' order by id for no key update
    );
  exception when lock_not_available then
    locked := array(
      select id
      from queue.jobs
      where id = any (waiting) and hold = 'dependencies'
      order by id
      for no key update skip locked
    );
  end;

  for hopeless in
    with told as materialized (
      select
        dependency.job_id, dependency.depends_on, dependency.parent_failed,
        case
          -- It was cancelled or discarded while it waited: its dependencies are of no use.
          when held.id is null then 'over'
          when settled.fate = 'completed' or dependency.if_failed = 'run' then 'over'
          -- A job of a kind that keeps no history was completed if nothing is left of it.
          when settled.fate = 'gone' and not dependency.parent_failed then 'over'
          when settled.fate = 'discarded' and dependency.if_failed = 'wait' then 'parked'
          else 'hopeless'
        end as verdict,
        format(
          'job %s, for which it waited, was %s',
          dependency.depends_on,
          case settled.fate when 'gone' then 'discarded, and is no longer kept' else settled.fate end
        ) as why
      from unnest(waiting, parents, parents_fates) as settled (job_id, depends_on, fate)
      join queue.dependencies as dependency
        on dependency.job_id = settled.job_id and dependency.depends_on = settled.depends_on
      left join queue.jobs as held on held.id = dependency.job_id and held.hold = 'dependencies'
      where held.id is null or held.id = any (locked)
    ),
    over as (
      delete from queue.dependencies
      using told
      where dependencies.job_id = told.job_id and dependencies.depends_on = told.depends_on and told.verdict = 'over'
    ),
    parked as (
      update queue.dependencies
      set parent_failed = true
      from told
      where dependencies.job_id = told.job_id
        and dependencies.depends_on = told.depends_on
        and told.verdict = 'parked'
        and not told.parent_failed
    )
    select distinct on (job_id) job_id, why from told where verdict = 'hopeless' order by job_id, depends_on
  loop
    delete from queue.dependencies where job_id = hopeless.job_id;
    if queue.cancel_waiting(hopeless.job_id) then
      insert into queue.interventions (job_id, action, made_by, reason)
      values (hopeless.job_id, 'cancel', 'queue', hopeless.why);
      cancelled := cancelled || hopeless.job_id;
    end if;
  end loop;

  with free as (
    update queue.jobs
    set
      run_at = greatest(run_at, clock_timestamp()),
      hold = case when key is not null and run_at > clock_timestamp() then 'until_due'::queue.hold end
    where id = any (locked)
      and hold = 'dependencies'
      and not exists (select from queue.dependencies where dependencies.job_id = jobs.id)
    returning id
  )
  select count(*) into released from free;
end $$;
