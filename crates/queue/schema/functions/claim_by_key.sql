-- Claims from a queue that has limits, or has jobs with keys. Keys take turns: the claim begins with the key after
-- `after_key`, looks at no more than 1,000 of them, and gives each that may go on the same share.
--
-- If the queue has limits, one claim at a time: the lock lasts until the claim is committed, a moment later, and only
-- then does the next one count what runs. So limits hold exactly, over all workers. Without limits nobody waits.
--
-- Takes at most `max_bytes` of arguments and checkpoints, but at least one job if one may start, as queue.claim does.
--
-- The last row has no job. Its key is where the next claim should go on, and again_in in how many seconds, if that is
-- known: a rate allows the next job then, or there are keys that were not looked at. is_cut: there was no room for more
-- jobs that may start.
create or replace function queue.claim_by_key(
  claimed_queue text, kinds text[], max_jobs int, worker uuid, lease float8, after_key text,
  max_bytes bigint
) returns table (
  claimed_at timestamptz, again_in float8, is_cut boolean,
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
  fitting bigint[];
  was_cut boolean;
  of_key_started record;
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
    elsif rules.ordered then
      of_key := queue.pick_head(claimed_queue, keys[i]);
    else
      of_key := queue.pick_of_key(claimed_queue, keys[i], kinds, least(share, rooms[i]));
    end if;
    picked := picked || of_key;
    room := room - cardinality(of_key);
  end loop;
  fitting := queue.fit_bytes(picked, max_bytes);
  was_cut := cardinality(fitting) < cardinality(picked);
  picked := fitting;
  if was_cut then
    -- Keys that found no room come first in the next claim.
    turn := (select jobs.key from queue.jobs where jobs.id = picked[cardinality(picked)]);
  end if;
  if rules.rate_per_key is not null then
    for of_key_started in
      select jobs.key, count(*)::int as jobs_of_key
      from queue.jobs
      where jobs.id = any (picked) and jobs.key is not null
      group by jobs.key
    loop
      perform queue.count_starts(claimed_queue, of_key_started.key, of_key_started.jobs_of_key, rules.rate_period);
    end loop;
  end if;
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
    statement_timestamp(), null::float8, null::boolean, claimed.id, claimed.queue::text, claimed.kind::text,
    claimed.run_at::timestamptz,
    claimed.attempt::smallint,
    -- Who gives way to those behind after some attempts is discarded then.
    case
      when rules.ordered and rules.skip_after is not null
        then least(claimed.max_attempts, claimed.prior_attempts + rules.skip_after)::smallint
      else claimed.max_attempts::smallint
    end,
    claimed.crash_count::smallint, claimed.prior_attempts::smallint, claimed.fence, claimed.key::text,
    claimed.args::jsonb, claimed.args_key::text, claimed.checkpoint, claimed.trace_context::jsonb,
    claimed.last_traceparent
  from claimed
  order by claimed.priority, claimed.run_at, claimed.id;

  return query
  select
    statement_timestamp(), wait, was_cut, null::bigint, null::text, null::text, null::timestamptz, null::smallint,
    null::smallint, null::smallint, null::smallint, null::bigint, turn, null::jsonb, null::text, null::jsonb,
    null::jsonb, null::text;
end $$;
