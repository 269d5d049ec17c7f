-- The durable job queue. It knows nothing of payments.
--
-- A job is one row of queue.jobs from its enqueue until it is finished; then the row moves, in one statement, to
-- queue.finished_jobs. So the hot table and its indexes hold unfinished work only, whatever the history weighs (G10),
-- and history, which never changes, is partitioned by time: retention drops partitions and deletes no rows.
--
-- Arguments stay in the job's own row. A payload table of its own would spare the claim a copy of them (PostgreSQL
-- already keeps values beyond 2 kB out of line, and an update does not touch those), at the price of one more insert
-- per enqueue and of partitions that one job scheduled for next year keeps from being dropped.

create schema queue;

-- The fence of every claim comes from here (G4). Never reset: a fence names one claim for ever.
create sequence queue.fence as bigint;

create table queue.jobs (
  id               bigint generated always as identity primary key,
  queue            text collate "C" not null default 'default',
  kind             text collate "C" not null,
  -- 1 is claimed first, 4 last. A claim asks for each (queue, priority) by itself, hence the small number of them.
  priority         smallint not null default 2,
  -- While true, a worker holds the lease below. A column of its own, because the index predicates use it: a
  -- heartbeat changes only lease_expires_at, which no index knows, and so stays a heap-only update.
  running          boolean not null default false,
  -- When the job is due; among due jobs of one priority the order. Never earlier than the moment of its writing
  -- (queue/claim_floor.rs relies on that).
  run_at           timestamptz not null default clock_timestamp(),
  -- Runs begun so far, counted when the job is claimed, so that a crash at any later point is still counted.
  attempt          smallint not null default 0,
  max_attempts     smallint not null default 10,
  -- Of the attempts above, those whose worker was lost. They do not count against max_attempts but have a cap of
  -- their own: a job that takes its worker down each time must end, too.
  crash_count      smallint not null default 0,
  fence            bigint,
  worker_id        uuid,
  started_at       timestamptz,
  lease_expires_at timestamptz,
  enqueued_at      timestamptz not null default clock_timestamp(),
  args             jsonb not null default '{}',
  -- W3C trace context of whoever enqueued the job, and the traceparent of the attempt before this one.
  trace_context    jsonb,
  last_traceparent text,
  constraint jobs_queue_is_named check (queue <> '' and length(queue) <= 100),
  constraint jobs_kind_is_named check (kind <> '' and length(kind) <= 100),
  constraint jobs_priority_is_known check (priority between 1 and 4),
  constraint jobs_attempts_are_bounded check (max_attempts between 1 and 1000 and attempt >= 0 and crash_count >= 0),
  constraint jobs_running_has_lease check (
    running = (fence is not null and worker_id is not null and started_at is not null and lease_expires_at is not null)
  )
) with (
  -- Room on each page for the new row version that the claim writes.
  fillfactor = 80,
  -- Vacuum by number of dead rows, never by share of the table, and without pausing: this table turns over
  -- completely many times an hour while it stays small.
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 2000,
  autovacuum_vacuum_insert_scale_factor = 0,
  autovacuum_vacuum_insert_threshold = 50000,
  autovacuum_analyze_scale_factor = 0,
  autovacuum_analyze_threshold = 50000,
  autovacuum_vacuum_cost_delay = 0
);

-- What a claim reads: for one queue and priority, the due jobs in order. Jobs of the future come last in it.
create index jobs_waiting on queue.jobs (queue, priority, run_at, id) where not running;
-- What a rescue reads. By id and not by lease_expires_at, so that heartbeats stay heap-only updates; it has at most
-- as many live entries as all workers together have slots.
create index jobs_running on queue.jobs (id) where running;

create type queue.finished_state as enum ('completed', 'cancelled', 'discarded');

-- Finished jobs, each moved here by the statement that finished it. Terminal states never change, so a partition per
-- state is safe (a live row that changed partition would fail concurrent updates), and each state has a retention.
create table queue.finished_jobs (
  id               bigint not null,
  queue            text collate "C" not null,
  kind             text collate "C" not null,
  priority         smallint not null,
  attempt          smallint not null,
  max_attempts     smallint not null,
  crash_count      smallint not null,
  state            queue.finished_state not null,
  run_at           timestamptz not null,
  enqueued_at      timestamptz not null,
  finished_at      timestamptz not null default clock_timestamp(),
  args             jsonb not null,
  trace_context    jsonb,
  last_traceparent text
) partition by list (state);

create table queue.finished_jobs_completed partition of queue.finished_jobs for values in ('completed')
  partition by range (finished_at);
create table queue.finished_jobs_cancelled partition of queue.finished_jobs for values in ('cancelled')
  partition by range (finished_at);
create table queue.finished_jobs_discarded partition of queue.finished_jobs for values in ('discarded')
  partition by range (finished_at);
create index finished_jobs_id on queue.finished_jobs (id);

create type queue.attempt_outcome as enum ('completed', 'failed', 'timed_out', 'crashed', 'discarded', 'cancelled');

-- One row per attempt, written when it ends and never changed.
create table queue.attempts (
  job_id      bigint not null,
  attempt     smallint not null,
  fence       bigint not null,
  worker_id   uuid not null,
  started_at  timestamptz not null,
  ended_at    timestamptz not null default clock_timestamp(),
  outcome     queue.attempt_outcome not null,
  -- The whole error chain, cut at 8 KiB; null exactly when the attempt completed.
  error       text,
  traceparent text
) partition by range (ended_at);
create index attempts_job on queue.attempts (job_id, attempt);

-- Makes the daily partitions (UTC) of a partitioned table from today to `days_ahead` days from now, and says how many
-- were missing. Every worker calls it at start and every few minutes; several at once are harmless.
create function queue.ensure_partitions(parent regclass, days_ahead int) returns int
language plpgsql as $$
declare
  first_day date := (now() at time zone 'utc')::date;
  made int := 0;
  partition_name text;
begin
  for i in 0 .. days_ahead loop
    partition_name := format('%s_%s', (select relname from pg_class where oid = parent), to_char(first_day + i, 'YYYYMMDD'));
    continue when to_regclass('queue.' || quote_ident(partition_name)) is not null;
    -- Only one process makes partitions at a time; the others find them made.
    perform pg_advisory_xact_lock(hashtext('queue.ensure_partitions'));
    continue when to_regclass('queue.' || quote_ident(partition_name)) is not null;
    execute format(
      'create table queue.%I partition of %s for values from (%L) to (%L)',
      partition_name, parent,
      (first_day + i)::timestamp at time zone 'utc', (first_day + i + 1)::timestamp at time zone 'utc'
    );
    made := made + 1;
  end loop;
  return made;
end $$;

-- Drops the daily partitions of a partitioned table that ended more than `keep_days` days ago, and says how many. A
-- partition that somebody is reading is left for the next time, rather than making everybody else wait for the lock.
create function queue.drop_old_partitions(parent regclass, keep_days int) returns int
language plpgsql set lock_timeout = '500ms' as $$
declare
  partition record;
  dropped int := 0;
begin
  for partition in
    select child.oid::regclass as name
    from pg_inherits
    join pg_class as child on child.oid = inhrelid
    where inhparent = parent
      and child.relname ~ '_[0-9]{8}$'
      and to_date(right(child.relname, 8), 'YYYYMMDD') < (now() at time zone 'utc')::date - keep_days
  loop
    begin
      execute format('drop table %s', partition.name);
      dropped := dropped + 1;
    exception when lock_not_available then
      null;
    end;
  end loop;
  return dropped;
end $$;

-- From when on the rows of a partitioned table are kept: the first day that has a partition. Null without any.
create function queue.kept_since(parent regclass) returns timestamptz
language sql stable parallel safe as $$
  select min(to_date(right(child.relname, 8), 'YYYYMMDD'))::timestamp at time zone 'utc'
  from pg_inherits
  join pg_class as child on child.oid = inhrelid
  where inhparent = parent
    and child.relname ~ '_[0-9]{8}$'
$$;

select queue.ensure_partitions('queue.finished_jobs_completed', 7);
select queue.ensure_partitions('queue.finished_jobs_cancelled', 7);
select queue.ensure_partitions('queue.finished_jobs_discarded', 7);
select queue.ensure_partitions('queue.attempts', 7);

-- Completes jobs under their fences: each leaves the hot table and enters the history, in one statement. Returns the
-- jobs that were completed; one that is missing belongs to another worker by now (G3, G4).
--
-- A function, because handlers call it in their own transactions, whose connections have the planner's defaults. A plan
-- made while the hot table is small reads it from end to end, and is kept while the table grows: so here, and only
-- here, it must go by index.
create function queue.complete(ids bigint[], fences bigint[]) returns setof bigint
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
begin
  return query
  with done as (
    delete from queue.jobs
    using unnest(ids, fences) as mine (id, fence)
    where jobs.id = mine.id
      and jobs.fence = mine.fence
      and jobs.running
    returning jobs.*
  ),
  finished as (
    insert into queue.finished_jobs (
      id, queue, kind, priority, attempt, max_attempts, crash_count, state, run_at, enqueued_at, args, trace_context,
      last_traceparent
    )
    select
      done.id, done.queue, done.kind, done.priority, done.attempt, done.max_attempts, done.crash_count, 'completed',
      done.run_at, done.enqueued_at, done.args, done.trace_context, done.last_traceparent
    from done
  ),
  attempt as (
    insert into queue.attempts (job_id, attempt, fence, worker_id, started_at, outcome)
    select done.id, done.attempt, done.fence, done.worker_id, done.started_at, 'completed'
    from done
  )
  select done.id from done;
end $$;

-- Every job, finished or not, with the state that people speak of. For people, `app verify` and lists; the engine
-- itself never reads it.
create view queue.all_jobs as
select
  id, queue, kind, priority,
  case
    when running then 'running'
    when run_at <= now() then 'available'
    when attempt > 0 then 'retryable'
    else 'scheduled'
  end as state,
  run_at, attempt, max_attempts, crash_count, fence, worker_id, started_at, lease_expires_at,
  enqueued_at, null::timestamptz as finished_at, args, trace_context, last_traceparent
from queue.jobs
union all
select
  id, queue, kind, priority, state::text,
  run_at, attempt, max_attempts, crash_count, null, null, null, null,
  enqueued_at, finished_at, args, trace_context, last_traceparent
from queue.finished_jobs;
