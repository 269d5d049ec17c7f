-- Flow control: claims by key and under limits, and what a failing job means for those of its key behind it.

-- How many jobs of a key run.
create index jobs_running_by_key on queue.jobs (queue, key) where running and key is not null;

-- Keys of ordered queues of which nothing is claimed until an operator decides.
create table queue.blocked_keys (
  queue  text collate "C" not null,
  key    text collate "C" not null,
  -- The job at the head.
  job_id bigint not null,
  -- 'discarded': it failed for good; 'parked': it failed, and the queue's rule is to ask somebody first.
  cause  text not null,
  since  timestamptz not null default clock_timestamp(),
  primary key (queue, key),
  constraint blocked_keys_tell_the_cause check (cause in ('discarded', 'parked'))
);
create index blocked_keys_job on queue.blocked_keys (job_id);

-- How many jobs of a queue with a rate, or of one key of it, started in each slot of time; a slot is a twentieth of
-- the period. Only claims write here, one row each however many jobs they take, and they take turns (see below).
create table queue.starts (
  queue   text collate "C" not null,
  -- '' for the queue as a whole.
  key     text collate "C" not null,
  slot    timestamptz not null,
  started int not null,
  primary key (queue, key, slot)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- How many more jobs may start now under a rate, and in how many seconds one more may if none can. At most `rate` jobs
-- start in any stretch of time that is as long as the period.
create function queue.room_of_rate(
  limited_queue text, limited_key text, rate int, period interval, out room int, out again_in float8
)
language plpgsql
set enable_seqscan = off
as $$
declare
  slot_length constant interval := period / 20;
  used bigint;
  oldest timestamptz;
begin
  -- A slot may hold a start of its very last moment, so it counts until that is over.
  select coalesce(sum(started), 0), min(slot) into used, oldest
  from queue.starts
  where starts.queue = limited_queue
    and starts.key = limited_key
    and starts.slot > clock_timestamp() - period - slot_length;
  room := greatest(rate - used, 0);
  again_in := case when room = 0 then
    greatest(extract(epoch from oldest + period + slot_length - clock_timestamp()), 0)
  end;
end $$;

-- Notes that so many jobs start now, and forgets slots that no longer count.
create function queue.count_starts(limited_queue text, limited_key text, jobs_started int, period interval)
returns void
language plpgsql
set enable_seqscan = off
as $$
declare
  slot_length constant interval := period / 20;
begin
  insert into queue.starts (queue, key, slot, started)
  values (limited_queue, limited_key, date_bin(slot_length, clock_timestamp(), 'epoch'), jobs_started)
  on conflict (queue, key, slot) do update set started = starts.started + excluded.started;
  delete from queue.starts
  where starts.queue = limited_queue
    and starts.key = limited_key
    and starts.slot <= clock_timestamp() - period - slot_length;
end $$;

-- Picks and locks up to `max_jobs` due jobs without a key in a queue, by priority and time.
create function queue.pick_without_key(picked_queue text, kinds text[], max_jobs int) returns bigint[]
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
          and jobs.priority = lane.priority
          and not jobs.running
          and jobs.key is null
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

-- The same for jobs of one key.
create function queue.pick_of_key(picked_queue text, picked_key text, kinds text[], max_jobs int) returns bigint[]
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

-- The same for the head of a key of an ordered queue: the oldest of its jobs, whatever its priority and time.
create function queue.pick_head(picked_queue text, picked_key text) returns bigint[]
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
as $$
begin
  return (
    with head as materialized (
      select jobs.id
      from queue.jobs
      where jobs.queue = picked_queue and jobs.key = picked_key
      order by jobs.id
      limit 1
    ),
    locked as materialized (
      select jobs.id
      from queue.jobs
      join head on head.id = jobs.id
      where not jobs.running and jobs.hold is null
      for update of jobs skip locked
    )
    select coalesce(array_agg(locked.id), '{}') from locked
  );
end $$;

-- How many jobs of a key may be claimed now, by the rules of its queue.
create function queue.room_of_key(rules queue.limits, asked_key text, kinds text[], max_jobs int) returns int
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
  room int := max_jobs;
  head record;
begin
  if rules.ordered then
    -- Only the head, the oldest job that has not ended, and only if it waits for nothing but a worker.
    select jobs.running, jobs.hold, jobs.run_at, jobs.kind into head
    from queue.jobs
    where jobs.queue = rules.queue and jobs.key = asked_key
    order by jobs.id
    limit 1;
    if not found or head.running or head.hold is not null or head.run_at > clock_timestamp()
      or head.kind <> all (kinds)
      or exists (select from queue.blocked_keys as b where b.queue = rules.queue and b.key = asked_key)
    then
      return 0;
    end if;
    room := 1;
  end if;
  if rules.max_running_per_key is not null then
    room := least(room, rules.max_running_per_key - (
      select count(*)
      from queue.jobs
      where jobs.queue = rules.queue and jobs.key = asked_key and jobs.running and jobs.key is not null
    ));
  end if;
  if room > 0 and rules.rate_per_key is not null then
    room := least(room, (queue.room_of_rate(rules.queue, asked_key, rules.rate_per_key, rules.rate_period)).room);
  end if;
  return greatest(room, 0);
end $$;

-- Claims from a queue that has limits, or has jobs with keys. Keys take turns: the claim begins with the key after
-- `after_key`, looks at no more than 1,000 of them, and gives each that may go on the same share.
--
-- If the queue has limits, one claim at a time: the lock lasts until the claim is committed, a moment later, and only
-- then does the next one count what runs. So limits hold exactly, over all workers. Without limits nobody waits.
--
-- The last row has no job. Its key is where the next claim should go on, and again_in in how many seconds, if that is
-- known: a rate allows the next job then, or there are keys that were not looked at.
create function queue.claim_by_key(
  claimed_queue text, kinds text[], max_jobs int, worker uuid, lease float8, after_key text
) returns table (
  claimed_at timestamptz, again_in float8,
  id bigint, queue text, kind text, run_at timestamptz, attempt smallint, max_attempts smallint,
  crash_count smallint, prior_attempts smallint, fence bigint, key text, args jsonb, args_key text, checkpoint jsonb,
  trace_context jsonb, last_traceparent text
)
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  rules queue.limits;
  room int := max_jobs;
  wait float8;
  turn text := after_key;
  keys text[] := '{}';
  rooms int[] := '{}';
  key_room int;
  share int;
  wrapped boolean := false;
  looked_at int := 0;
  picked bigint[] := '{}';
  of_key bigint[];
begin
  select * into rules from queue.limits where limits.queue = claimed_queue;
  if found then
    perform pg_advisory_xact_lock(hashtextextended('queue.claim_by_key ' || claimed_queue, 0));
    -- Both may have changed while this waited.
    select * into rules from queue.limits where limits.queue = claimed_queue;
  end if;
  if exists (select from queue.pauses where pauses.queue = any (array[claimed_queue, '*'])) then
    return;
  end if;

  update queue.jobs
  set hold = null
  where jobs.id in (
    select due.id
    from queue.jobs as due
    where due.queue = claimed_queue and due.hold = 'until_due' and due.run_at <= clock_timestamp()
    order by due.run_at
    limit 1000
    for update skip locked
  );

  if rules.max_running is not null then
    room := least(room, rules.max_running - (
      select count(*) from queue.jobs where jobs.running and jobs.queue = claimed_queue
    ));
  end if;
  if room > 0 and rules.rate is not null then
    select least(room, rate.room), rate.again_in into room, wait
    from queue.room_of_rate(claimed_queue, '', rules.rate, rules.rate_period) as rate;
  end if;

  -- Which keys may go on, in turn. The jobs without a key are looked at as one more, where the circle closes.
  while room > cardinality(keys) and looked_at < 1000 loop
    looked_at := looked_at + 1;
    select jobs.key into turn
    from queue.jobs
    where jobs.queue = claimed_queue and jobs.key > coalesce(turn, '') and not jobs.running
      and jobs.key is not null and jobs.hold is null
    -- Only the index of those that wait has this order.
    order by jobs.key, jobs.priority, jobs.run_at, jobs.id
    limit 1;
    if not found then
      exit when wrapped;
      wrapped := true;
      turn := null;
      if rules.queue is not null then
        keys := keys || null::text;
        rooms := rooms || room;
      end if;
      exit when after_key is null;
      continue;
    end if;
    exit when wrapped and turn > after_key;
    key_room := room;
    if rules.queue is not null then
      key_room := queue.room_of_key(rules, turn, kinds, room);
    end if;
    if key_room > 0 then
      keys := keys || turn;
      rooms := rooms || key_room;
    end if;
  end loop;
  if looked_at >= 1000 then
    -- There are more.
    wait := least(wait, 0.05);
  end if;

  for i in 1 .. cardinality(keys) loop
    exit when room <= 0;
    -- Shares grow by what those before left.
    share := ceil(room::numeric / (cardinality(keys) - i + 1));
    if keys[i] is null then
      of_key := queue.pick_without_key(claimed_queue, kinds, least(share, room));
    else
      if rules.ordered then
        of_key := queue.pick_head(claimed_queue, keys[i]);
      else
        of_key := queue.pick_of_key(claimed_queue, keys[i], kinds, least(share, rooms[i]));
      end if;
      if rules.rate_per_key is not null and cardinality(of_key) > 0 then
        perform queue.count_starts(claimed_queue, keys[i], cardinality(of_key), rules.rate_period);
      end if;
    end if;
    picked := picked || of_key;
    room := room - cardinality(of_key);
  end loop;
  if rules.rate is not null and cardinality(picked) > 0 then
    perform queue.count_starts(claimed_queue, '', cardinality(picked), rules.rate_period);
  end if;

  return query
  with claimed as (
    update queue.jobs
    set
      running = true,
      attempt = jobs.attempt + 1,
      fence = nextval('queue.fence'),
      worker_id = worker,
      started_at = clock_timestamp(),
      lease_expires_at = clock_timestamp() + make_interval(secs => lease),
      wait_reason = null
    where jobs.id = any (picked)
    returning jobs.*
  )
  select
    statement_timestamp(), null::float8, claimed.id, claimed.queue::text, claimed.kind::text, claimed.run_at,
    claimed.attempt::smallint,
    -- Who gives way to those behind after some attempts is discarded then.
    case
      when rules.ordered and rules.skip_after is not null
        then least(claimed.max_attempts, claimed.prior_attempts + rules.skip_after)::smallint
      else claimed.max_attempts::smallint
    end,
    claimed.crash_count::smallint, claimed.prior_attempts::smallint, claimed.fence, claimed.key::text, claimed.args,
    claimed.args_key, claimed.checkpoint, claimed.trace_context, claimed.last_traceparent
  from claimed
  order by claimed.priority, claimed.run_at, claimed.id;

  return query
  select
    statement_timestamp(), wait, null::bigint, null::text, null::text, null::timestamptz, null::smallint,
    null::smallint, null::smallint, null::smallint, null::bigint, turn, null::jsonb, null::text, null::jsonb,
    null::jsonb, null::text;
end $$;

-- A job of an ordered queue that is discarded stops those of its key behind it, unless the queue's rule is to skip it.
-- A trigger, because jobs are discarded in several ways, and none may forget this; it costs
-- nothing where nothing is discarded.
create function queue.block_key_of_discarded() returns trigger
language plpgsql
as $$
begin
  insert into queue.blocked_keys (queue, key, job_id, cause)
  select limits.queue, new.key, new.id, 'discarded'
  from queue.limits
  where limits.queue = new.queue and limits.ordered and limits.on_poison <> 'skip_after'
  on conflict (queue, key) do update set job_id = excluded.job_id, cause = excluded.cause;
  return null;
end $$;
create trigger block_key after insert on queue.finished_jobs_discarded
  for each row when (new.key is not null)
  execute function queue.block_key_of_discarded();

-- Whoever decides over the discarded job, by redrive or dismissal, lets its key go on.
create function queue.unblock_key_of_resolved() returns trigger
language plpgsql
as $$
begin
  delete from queue.blocked_keys where job_id = new.job_id;
  return null;
end $$;
create trigger unblock_key after insert on queue.resolutions
  for each row
  execute function queue.unblock_key_of_resolved();

-- And so does whoever cancels a parked one.
create function queue.unblock_key_of_cancelled() returns trigger
language plpgsql
as $$
begin
  delete from queue.blocked_keys where job_id = new.id;
  return null;
end $$;
create trigger unblock_key after insert on queue.finished_jobs_cancelled
  for each row when (new.key is not null)
  execute function queue.unblock_key_of_cancelled();
