-- Claims due jobs, lane by lane: a lane is one priority of one queue, and the lanes come in the order of the arrays.
-- `take_xid`: take a transaction id even when nothing is due; `ignored_xid`: transactions up to this id are ignored
-- though they may still run (worker/claim/floor.rs has the reasons for both).
--
-- Each lane is an index range scan from its floor that stops at the first job of the future, so neither finished nor
-- scheduled jobs are read, however many there are. Lanes of queues that are paused or have limits are passed over and
-- told, and so are the queues that queue.claim_by_key must look after, unless they are not asked for: to find them may
-- take long (worker/claim/key_rest.rs).
--
-- Takes at most `max_bytes` of arguments and checkpoints, but at least one job if one is due: is_cut tells that there was
-- no room for more that are, or that as many as `max_jobs` were found. So what is sent, and how long that takes, does not
-- depend on how large arguments are (G9).
--
-- A job takes a slot of its queue's own, or a common one: `own_slots` tells how many the queue of each lane has, and
-- `common_slots` how many are for all. So no queue keeps the others from a worker (worker/slots.rs).
--
-- A function, because its plan must be one for good that goes by index, on any connection: made while the table is
-- small, it must not be tempted to read it from end to end; nor may each claim be planned anew, which looks for the
-- ends of the indexes and so reads the dead rows there.
create or replace function queue.claim(
  queues text[],
  priorities smallint[],
  floors timestamptz[],
  kinds text[],
  max_jobs int,
  worker uuid,
  lease float8,
  take_xid boolean,
  ignored_xid bigint,
  max_bytes bigint,
  own_slots int[],
  common_slots int,
  look_for_keys boolean
) returns table (
  claimed_at timestamptz, oldest_running_xid bigint, own_xid bigint, closed_lanes bigint[], by_key text[], is_cut boolean,
  lane bigint, id bigint, queue text, kind text, run_at timestamptz, attempt smallint, max_attempts smallint,
  crash_count smallint, prior_attempts smallint, fence bigint, key text, args jsonb, args_key text, checkpoint jsonb,
  trace_context jsonb, last_traceparent text
)
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
  -- `materialized` is a fence for the planner: as a plain subselect, the LIMIT could be run again for each row of a
  -- nested loop, and more than max_jobs be claimed.
  return query
  with lane as materialized (
    select
      asked.queue, asked.priority, asked.floor, asked.own_slots, asked.position,
      exists (select from queue.pauses where pauses.queue = any (array[asked.queue, '*'])) as paused,
      exists (select from queue.limits where limits.queue = asked.queue) as limited
    from unnest(queues, priorities, floors, own_slots) with ordinality
      as asked (queue, priority, floor, own_slots, position)
  ),
  due as materialized (
    select lane.queue, lane.own_slots, lane.position, job.place, job.bytes
    from lane
    cross join lateral (
      select jobs.ctid as place, jobs.bytes
      from queue.jobs
      where jobs.queue = lane.queue
        and jobs.priority = lane.priority
        and not jobs.running
        and jobs.key is null
        and jobs.hold is null
        and jobs.run_at >= lane.floor
        and jobs.run_at <= statement_timestamp()
        and jobs.kind = any (kinds)
      order by jobs.run_at, jobs.id
      limit least(max_jobs, lane.own_slots + common_slots)
      for update skip locked
    ) as job
    where not lane.paused and not lane.limited
    -- Rows are pulled one at a time, so the lanes after the one that fills this limit are not even begun.
    limit max_jobs
  ),
  -- Those that find no slot, or no room, stay locked until the end of this statement, and as they are.
  in_slots as materialized (
    -- Mostly the common slots are enough for all, and nothing is counted.
    (
      select due.position, due.place, due.bytes
      from due
      where max_jobs <= common_slots
    )
    union all
    (
      select counted.position, counted.place, counted.bytes
      from (
        select
          of_queue.*,
          count(*) filter (where of_queue.number_in_queue > of_queue.own_slots) over so_far as number_in_common
        from (
          select numbered.*, row_number() over (partition by numbered.queue order by numbered.number) as number_in_queue
          from (select due.*, row_number() over () as number from due) as numbered
        ) as of_queue
        window so_far as (order by of_queue.number rows unbounded preceding)
      ) as counted
      where max_jobs > common_slots
        and (counted.number_in_queue <= counted.own_slots or counted.number_in_common <= common_slots)
      order by counted.number
    )
  ),
  taken as materialized (
    select counted.position, counted.place
    from (
      select
        in_slots.position, in_slots.place,
        sum(in_slots.bytes) over so_far as total_bytes,
        row_number() over so_far as number
      from in_slots
      window so_far as (rows unbounded preceding)
    ) as counted
    where counted.total_bytes <= max_bytes or counted.number = 1
  ),
  claimed as (
    update queue.jobs
    set
      running = true,
      attempt = jobs.attempt + 1,
      fence = nextval('queue.fence'),
      worker_id = worker,
      started_at = clock_timestamp(),
      lease_expires_at = clock_timestamp() + make_interval(secs => lease),
      wait_reason = null
    from taken
    -- They are locked, so they are still there.
    where jobs.ctid = taken.place
    returning taken.position, jobs.*
  ),
  looked_after as materialized (
    select array_agg(distinct lane.queue) as queues
    from lane
    where look_for_keys
      and not lane.paused
      and (
        lane.limited
        -- With a limit, because as a plain EXISTS it may be hashed, which reads all there is; in an order that only
        -- the index of those that wait has.
        or (
          select true
          from queue.jobs
          where jobs.queue = lane.queue and not jobs.running and jobs.key is not null and jobs.hold is null
          order by jobs.key, jobs.priority, jobs.run_at, jobs.id
          limit 1
        )
        or (
          select true
          from queue.jobs
          where jobs.queue = lane.queue and jobs.hold = 'until_due' and jobs.run_at <= statement_timestamp()
          limit 1
        )
      )
      -- Each queue has a lane of each priority.
      and lane.priority = 1
  )
  -- One row even when nothing is due: the floors move by what the snapshot says.
  select
    statement_timestamp(),
    coalesce(
      (select min(running.xid::text::bigint)
       from pg_snapshot_xip(pg_current_snapshot()) as running (xid)
       where running.xid::text::bigint > ignored_xid),
      pg_snapshot_xmax(pg_current_snapshot())::text::bigint
    ),
    -- A claim that found something has an id by now; the snapshot would not do, its xmax is only the first id after
    -- all that have ended, and transactions with higher ones may be running.
    case when take_xid then pg_current_xact_id() else pg_current_xact_id_if_assigned() end::text::bigint,
    (select array_agg(lane.position) from lane where lane.paused or lane.limited),
    looked_after.queues,
    (select count(*) from due) >= max_jobs or (select count(*) from in_slots) > (select count(*) from taken),
    claimed.position, claimed.id, claimed.queue::text, claimed.kind::text, claimed.run_at::timestamptz,
    claimed.attempt::smallint, claimed.max_attempts::smallint, claimed.crash_count::smallint,
    claimed.prior_attempts::smallint, claimed.fence, claimed.key::text, claimed.args::jsonb, claimed.args_key::text,
    claimed.checkpoint, claimed.trace_context::jsonb, claimed.last_traceparent
  from looked_after
  left join claimed on true
  order by claimed.position, claimed.run_at, claimed.id;
end $$;
