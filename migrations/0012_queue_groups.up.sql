-- Jobs that belong together: dependencies, and batches with callbacks.
--
-- Nothing is counted and no row is hot: the transaction that ends a job says nothing to others. After its commit the
-- worker has the end *resolved*, by queue.resolve, in a transaction of its own, whose statements see all that was
-- committed before. Of two jobs that end at the same moment, each is resolved after its own commit, so whoever takes its
-- snapshot later sees both ended: the last one is never missed. All of it is idempotent, and what a crash between
-- commit and resolve leaves behind, or a job that was enqueued in the very moment in which the one it waits for ended,
-- is found by queue.sweep_groups a second or two later.

-- True once depends_on was seen discarded by a job that waits on for its redrive. Should nothing be left of depends_on
-- one day, this is what tells that from a completion that left nothing behind.
alter table queue.dependencies add column parent_failed boolean not null default false;

-- What queue.batches keeps of a callback.
create function queue.is_stored_job(job jsonb) returns boolean
language sql immutable
as $$
  select (
    length(job ->> 'kind') between 1 and 100
    and length(job ->> 'queue') between 1 and 100
    and (job ->> 'priority')::smallint between 1 and 4
    and (job ->> 'max_attempts')::smallint between 1 and 1000
    and job -> 'args' is not null
    and (job ->> 'delay_secs')::float8 >= 0
    and ((job ->> 'run_at')::timestamptz > '-infinity') is not false
    and (length(job ->> 'key') between 1 and 200) is not false
    and (jsonb_typeof(job -> 'tags') = 'array') is not false
    and (
      job -> 'on_discard' is null
      or (
        length(job -> 'on_discard' ->> 'kind') between 1 and 100
        and length(job -> 'on_discard' ->> 'queue') between 1 and 100
        and (job -> 'on_discard' ->> 'priority')::smallint between 1 and 4
        and (job -> 'on_discard' ->> 'max_attempts')::smallint between 1 and 1000
      )
    )
    and not job ?| array['batch_id', 'held', 'unique']
  ) is true
$$;

alter table queue.batches
  -- When all members were completed: with done_at, or later if some had to be redriven.
  add column completed_at timestamptz,
  -- Looked at when the batch is made, because a callback that cannot be enqueued later would never be.
  add constraint batches_callbacks_are_jobs check (
    (on_done is null or queue.is_stored_job(on_done))
    and (on_completed is null or queue.is_stored_job(on_completed))
    and (on_failed is null or queue.is_stored_job(on_failed))
  );

-- Batches that may still be completed, by redriving what was discarded.
create index batches_to_complete on queue.batches (id)
  where done_at is not null and completed_at is null and on_completed is not null;
-- What retention reads.
create index batches_done on queue.batches (done_at) where done_at is not null;

-- Whether a batch has unfinished members is asked again and again while they end: from the newest on, which is the one
-- most likely to be there, so that the dead entries of those that have ended are not read.
drop index queue.jobs_of_batch;
create index jobs_of_batch on queue.jobs (batch_id, id) where batch_id is not null;

drop function queue.enqueue;

-- Enqueues a job in the caller's transaction, from any language, from a trigger. Gives its id, or with `unique_by` the
-- id of the job that is there already and is_new = false.
--
--   select * from queue.enqueue('send_mail', '{"to": "ada@example.com"}');
--   select * from queue.enqueue('rebuild', '{"shard": 7}', run_at => now() + interval '1 hour', tags => '{nightly}');
--   select * from queue.enqueue('sync', args, unique_by => args, unique_for => interval '1 minute');
--   select * from queue.enqueue('publish', after => array[811, 812], if_failed => 'wait');
--
-- unique_by: jobs of this kind are the same when this is: all arguments, or a part of them. unique_for: for so long;
-- null: while one of them is in unique_while. unique_while: the states in which a job counts; by default all that are
-- not finished, and with unique_for also 'completed'.
--
-- after: the job waits until these have ended. if_failed: what becomes of it when one is discarded or cancelled:
-- 'cancel', 'wait' for its redrive, 'run' as if it had been completed. batch_id: a batch that is not done.
--
-- Workers find the job at their next poll, or at once after `notify surety_queue`, sent after the commit: a NOTIFY
-- inside a busy transaction makes commits wait for each other.
create function queue.enqueue(
  kind text,
  args jsonb default '{}',
  queue text default 'default',
  priority int default 2,
  run_at timestamptz default null,
  max_attempts int default 10,
  key text default null,
  tags text[] default null,
  unique_by jsonb default null,
  unique_for interval default null,
  unique_while text[] default null,
  keeps_history boolean default true,
  on_discard jsonb default null,
  batch_id bigint default null,
  args_key text default null,
  trace_context jsonb default null,
  after bigint[] default null,
  if_failed text default 'cancel'
) returns table (job_id bigint, is_new boolean)
language plpgsql
as $$
#variable_conflict use_column
declare
  id constant bigint := nextval(pg_get_serial_sequence('queue.jobs', 'id'));
  existing bigint;
  due timestamptz;
begin
  -- A job must not appear behind a moment that claims have passed (queue/claim_floor.rs): the transaction gets its id
  -- before the clock is read, and no job is due earlier than that.
  perform pg_current_xact_id();
  if enqueue.batch_id is not null then
    -- The lock keeps the batch from being done before this member is there to be seen.
    perform from queue.batches where batches.id = enqueue.batch_id and batches.done_at is null for key share;
    if not found then
      raise exception 'batch % is done, or there is none', enqueue.batch_id using errcode = '55000';
    end if;
  end if;
  if enqueue.unique_by is not null then
    existing := queue.reserve_unique(
      enqueue.kind, enqueue.unique_by, enqueue.unique_for,
      coalesce(
        enqueue.unique_while,
        array['scheduled', 'available', 'retryable', 'running']
          || case when enqueue.unique_for is not null then array['completed'] end
      ),
      id
    );
    if existing is not null then
      return query select existing, false;
      return;
    end if;
  end if;
  due := greatest(enqueue.run_at, clock_timestamp());
  insert into queue.jobs (
    id, queue, kind, priority, max_attempts, run_at, args, trace_context, on_discard, key, hold, keeps_history,
    batch_id, tags, args_key
  )
  overriding system value
  values (
    id, enqueue.queue, enqueue.kind, enqueue.priority, enqueue.max_attempts, due, coalesce(enqueue.args, '{}'),
    enqueue.trace_context, enqueue.on_discard, enqueue.key,
    case
      when cardinality(enqueue.after) > 0 then 'dependencies'::queue.hold
      when enqueue.key is not null and enqueue.run_at > clock_timestamp() then 'until_due'::queue.hold
    end,
    coalesce(enqueue.keeps_history, true) or enqueue.batch_id is not null, enqueue.batch_id, enqueue.tags,
    enqueue.args_key
  );
  insert into queue.dependencies (job_id, depends_on, if_failed)
  select distinct id, parent, enqueue.if_failed
  from unnest(enqueue.after) as parent;
  return query select id, true;
end $$;

-- What has become of jobs, for those that wait for them: 'unfinished', 'completed', 'cancelled', 'discarded',
-- 'dismissed' (discarded, and it will not be redriven), or 'gone': nothing is left of it.
--
-- In plpgsql, which keeps the plan, as are the functions below: to plan for all partitions of the history takes longer
-- than to look into them.
create function queue.fates(ids bigint[]) returns table (id bigint, fate text)
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

-- Does what the fates of jobs mean for those that wait for them: dependency n is that of job waiting[n] on
-- depends_on[n], whose fate is fates[n]. Jobs without a dependency left are released, those that can no longer be are
-- cancelled, and told so that the cancelling can be resolved in turn.
create function queue.settle_waiting(
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
  -- Released jobs must not appear behind a moment that claims have passed (queue/claim_floor.rs): the transaction gets
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

-- Enqueues what queue.is_stored_job.
create function queue.enqueue_stored(job jsonb) returns bigint
language sql
as $$
  select job_id
  from queue.enqueue(
    kind => job ->> 'kind',
    args => job -> 'args',
    queue => job ->> 'queue',
    priority => (job ->> 'priority')::int,
    run_at => coalesce(
      (job ->> 'run_at')::timestamptz,
      case
        when (job ->> 'delay_secs')::float8 > 0
        then clock_timestamp() + make_interval(secs => (job ->> 'delay_secs')::float8)
      end
    ),
    max_attempts => (job ->> 'max_attempts')::int,
    key => job ->> 'key',
    tags => case when job ? 'tags' then array(select jsonb_array_elements_text(job -> 'tags')) end,
    keeps_history => job -> 'no_history' is null,
    on_discard => job -> 'on_discard',
    args_key => job ->> 'args_key',
    trace_context => nullif(job -> 'trace_context', 'null')
  )
$$;

-- Whether a member of the batch has failed for good: was discarded or cancelled, and not redriven since.
create function queue.batch_has_failures(batch bigint) returns boolean
language plpgsql stable
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
begin
  return exists (select from queue.finished_jobs where batch_id = batch and state in ('cancelled', 'discarded'));
end $$;

-- Whether a member of the batch is unfinished. `order by` makes it look at the newest first, see jobs_of_batch.
create function queue.batch_is_unfinished(batch bigint) returns boolean
language plpgsql stable
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
begin
  return (select id from queue.jobs where batch_id = batch order by id desc limit 1) is not null;
end $$;

-- Does what has become of the members of these batches, in the transaction that marks it as done: so each callback is
-- enqueued exactly once. Gives how many were.
--
-- Whoever adds a member has the row locked for key share until that is committed. To be done, a batch needs the
-- strongest lock, which waits for nobody: if somebody is adding, then there will be one more end to resolve, or, should
-- it be rolled back, the sweep. The other two changes get along with members being added.
create function queue.settle_batches(ids bigint[]) returns int
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  enqueued int := 0;
  batch queue.batches;
begin
  -- One after another in the order of their ids, as every statement that locks several rows. Each statement has a
  -- snapshot of its own.
  for batch in select * from queue.batches where id = any (ids) order by id loop
    if batch.done_at is null and not queue.batch_is_unfinished(batch.id) then
      perform from queue.batches where id = batch.id for update skip locked;
      if found then
        -- Asked again now that nobody can add one.
        update queue.batches
        set done_at = clock_timestamp()
        where id = batch.id and done_at is null and not queue.batch_is_unfinished(id);
        if found and batch.on_done is not null then
          perform queue.enqueue_stored(batch.on_done);
          enqueued := enqueued + 1;
        end if;
      end if;
    end if;

    -- After the above: the members of a batch that is done have all been looked at.
    if batch.failed_at is null and queue.batch_has_failures(batch.id) then
      update queue.batches set failed_at = clock_timestamp() where id = batch.id and failed_at is null;
      if found and batch.on_failed is not null then
        perform queue.enqueue_stored(batch.on_failed);
        enqueued := enqueued + 1;
      end if;
    end if;

    update queue.batches
    set completed_at = clock_timestamp()
    where id = batch.id
      and done_at is not null
      and completed_at is null
      and not queue.batch_is_unfinished(id)
      and not queue.batch_has_failures(id)
      -- Failures that retention has dropped are failures still.
      and (
        failed_at is null
        or failed_at >= greatest(
          queue.kept_since('queue.finished_jobs_cancelled'), queue.kept_since('queue.finished_jobs_discarded')
        )
      );
    if found and batch.on_completed is not null then
      perform queue.enqueue_stored(batch.on_completed);
      enqueued := enqueued + 1;
    end if;
  end loop;
  return enqueued;
end $$;

-- Does all that follows from the end of these jobs, for at most `max_jobs` that wait for them: after the commit that
-- ended them, in a transaction of its own at READ COMMITTED. Gives the jobs that were cancelled, whose end is to be
-- resolved in turn, how many jobs may run now, and whether the limit was reached: then call again.
create function queue.resolve(ids bigint[], max_jobs int, out cancelled bigint[], out woken int, out has_more boolean)
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

-- Finds what no resolve has seen to. Looks at no more than about `max_rows` of each: dependencies, held jobs, batches;
-- `cursors` say from where on, and next_cursors where to go on. All zeros: from the start, or all was seen.
create function queue.sweep_groups(
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
