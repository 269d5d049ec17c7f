-- Claims up to $5 due jobs of the kinds $4, lane by lane: a lane is one priority of one queue, and the lanes come in
-- the order of $1 to $3. $6 is the worker, $7 the lease in seconds, $8 whether to take a transaction id even when
-- nothing is due, $9 a transaction id up to which transactions that still run are ignored.
--
-- Each lane is an index range scan from its floor (claim_floor.rs) that stops at the first job of the future, so
-- neither finished nor scheduled jobs are read, however many there are.
--
-- `materialized` is a fence for the planner: as a plain subselect, the LIMIT could be run again for each row of a
-- nested loop, and more than $5 jobs be claimed.
with due as materialized (
  select lane.position, job.id
  from unnest($1::text[], $2::smallint[], $3::timestamptz[])
    with ordinality as lane (queue, priority, floor, position)
  cross join lateral (
    select jobs.id
    from queue.jobs
    where jobs.queue = lane.queue
      and jobs.priority = lane.priority
      and not jobs.running
      and jobs.run_at >= lane.floor
      and jobs.run_at <= statement_timestamp()
      and jobs.kind = any ($4::text[])
    order by jobs.run_at, jobs.id
    limit $5
    for update skip locked
  ) as job
  -- Rows are pulled one at a time, so the lanes after the one that fills this limit are not even begun.
  limit $5
),
claimed as (
  update queue.jobs
  set
    running = true,
    attempt = jobs.attempt + 1,
    fence = nextval('queue.fence'),
    worker_id = $6,
    started_at = clock_timestamp(),
    lease_expires_at = clock_timestamp() + make_interval(secs => $7),
    wait_reason = null
  from due
  where jobs.id = due.id
  returning
    due.position, jobs.id, jobs.queue, jobs.kind, jobs.priority, jobs.run_at, jobs.attempt, jobs.max_attempts,
    jobs.crash_count, jobs.prior_attempts, jobs.fence, jobs.args, jobs.trace_context, jobs.last_traceparent
)
-- One row even when nothing is due: the floors move by what the snapshot says.
select
  statement_timestamp() as "claimed_at!",
  coalesce(
    (select min(running.xid::text::bigint)
     from pg_snapshot_xip(pg_current_snapshot()) as running (xid)
     where running.xid::text::bigint > $9),
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint
  ) as "oldest_running_xid!",
  -- A claim that found something has an id by now; the snapshot would not do, its xmax is only the first id after all
  -- that have ended, and transactions with higher ones may be running.
  case when $8 then pg_current_xact_id() else pg_current_xact_id_if_assigned() end::text::bigint as own_xid,
  claimed.position as "lane?",
  claimed.id as "id?",
  claimed.queue as "queue?",
  claimed.kind as "kind?",
  claimed.run_at as "run_at?",
  claimed.attempt as "attempt?",
  claimed.max_attempts as "max_attempts?",
  claimed.crash_count as "crash_count?",
  claimed.prior_attempts as "prior_attempts?",
  claimed.fence as "fence?",
  claimed.args as "args?: Json<Box<RawValue>>",
  claimed.trace_context as "trace_context?: Json<TraceContext>",
  claimed.last_traceparent
from (select) as always
left join claimed on true
order by claimed.position, claimed.run_at, claimed.id
