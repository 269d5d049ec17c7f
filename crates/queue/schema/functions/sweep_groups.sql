-- Finds what no resolve has seen to. Looks at no more than about `max_rows` of each: dependencies, held jobs, batches;
-- `cursors` say from where on, and next_cursors where to go on. All zeros: from the start, or all was seen.
create or replace function queue.sweep_groups(
  cursors bigint[], max_rows int, out next_cursors bigint[], out cancelled bigint[], out woken int
)
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  waiting bigint[];
  parents bigint[];
  parents_fates text[];
  last_dependency bigint[];
  for_nothing record;
  open_batches bigint[];
  failed_batches bigint[];
begin
  next_cursors := '{0,0,0,0,0}';
  cancelled := '{}';
  woken := 0;
  -- Nobody uses any of it.
  if not exists (select from queue.dependencies)
    and not exists (select from queue.jobs where hold = 'dependencies')
    and not exists (select from queue.batches where done_at is null)
    and not exists (
      select from queue.batches where done_at is not null and completed_at is null and on_completed is not null
    )
  then
    return;
  end if;

  -- Dependencies on jobs that have ended, or of jobs that no longer wait. The newest are always among them: they are the
  -- ones that may have been enqueued while what they wait for ended.
  with in_turn as materialized (
    select job_id, depends_on, if_failed, parent_failed
    from queue.dependencies
    where (job_id, depends_on) > (cursors[1], cursors[2])
    order by job_id, depends_on
    limit max_rows
  ),
  newest as materialized (
    select job_id, depends_on, if_failed, parent_failed
    from queue.dependencies
    where (select count(*) from in_turn) = max_rows
    order by job_id desc, depends_on desc
    limit max_rows / 10
  ),
  seen as materialized (
    select dependency.*, held.id is null as is_moot
    from (select * from in_turn union select * from newest) as dependency
    left join queue.jobs as held on held.id = dependency.job_id and held.hold = 'dependencies'
    where held.id is null or not exists (select from queue.jobs where jobs.id = dependency.depends_on)
  ),
  parent as materialized (
    select id, fate from queue.fates(array(select distinct depends_on from seen))
  ),
  found as (
    select seen.job_id, seen.depends_on, parent.fate
    from seen
    join parent on parent.id = seen.depends_on
    where seen.is_moot
      or (
        parent.fate <> 'unfinished'
        and not (parent.fate = 'discarded' and seen.if_failed = 'wait' and seen.parent_failed)
      )
  )
  select
    (select array_agg(job_id) from found), (select array_agg(depends_on) from found),
    (select array_agg(fate) from found),
    (
      select array[last_one.job_id, last_one.depends_on]
      from (select job_id, depends_on from in_turn order by job_id, depends_on offset max_rows - 1) as last_one
    )
  into waiting, parents, parents_fates, last_dependency;
  if last_dependency is not null then
    next_cursors[1:2] := last_dependency;
  end if;
  if waiting is not null then
    select settled.cancelled, settled.released
    into cancelled, woken
    from queue.settle_waiting(waiting, parents, parents_fates) as settled;
  end if;

  -- Jobs that are held for nothing.
  with in_turn as materialized (
    select id from queue.jobs where hold = 'dependencies' and id > cursors[3] order by id limit max_rows
  )
  select
    (select case when count(*) = max_rows then max(id) else 0 end from in_turn) as next_cursor,
    array(select id from in_turn where not exists (select from queue.dependencies where job_id = in_turn.id)) as ids
  into for_nothing;
  next_cursors[3] := for_nothing.next_cursor;
  if for_nothing.ids <> '{}' then
    select woken + settled.released
    into woken
    from queue.settle_waiting(for_nothing.ids, null, null) as settled;
  end if;

  -- Batches that are not done, and those that may yet be completed by a redrive.
  open_batches := array(
    select id from queue.batches where done_at is null and id > cursors[4] order by id limit max_rows / 10
  );
  if cardinality(open_batches) >= max_rows / 10 then
    next_cursors[4] := open_batches[cardinality(open_batches)];
  end if;
  failed_batches := array(
    select id
    from queue.batches
    where done_at is not null and completed_at is null and on_completed is not null and id > cursors[5]
    order by id
    limit max_rows / 10
  );
  if cardinality(failed_batches) >= max_rows / 10 then
    next_cursors[5] := failed_batches[cardinality(failed_batches)];
  end if;
  if open_batches || failed_batches <> '{}' then
    woken := woken + queue.settle_batches(open_batches || failed_batches);
  end if;
end $$;
