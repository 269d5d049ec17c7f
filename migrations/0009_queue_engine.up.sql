-- The rest of the engine: keys, holds, tags, unique jobs, recorded output, cancel, progress and checkpoints, kinds
-- that keep no history, batches and dependencies, pauses and limits, and enqueueing from SQL.

-- Why a job cannot be claimed although nobody runs it and nothing is wrong with it.
create type queue.hold as enum (
  -- It has a key and is not due yet. Jobs with keys are found by key and not by time, so those of the future are kept
  -- out of the way until somebody sees that they are due.
  'until_due',
  -- It waits for other jobs to end.
  'dependencies'
);

-- What a job must look like, as domains and no longer as constraints of the table: PostgreSQL reads the constraints of
-- a table anew for every statement that writes to it, those of a domain once per session. Here that was 40 of the 60 us
-- that the insert of one job took. A value that is refused is not shown with the whole row, secrets and all, either.
create domain queue.queue_name as text collate "C"
  constraint queue_is_named check (value <> '' and length(value) <= 100);
create domain queue.kind_name as text collate "C"
  constraint kind_is_named check (value <> '' and length(value) <= 100);
create domain queue.job_priority as smallint constraint priority_is_known check (value between 1 and 4);
create domain queue.attempt_limit as smallint constraint attempts_are_bounded check (value between 1 and 1000);
create domain queue.attempt_count as smallint constraint attempts_are_counted check (value >= 0);
create domain queue.job_key as text collate "C" constraint key_is_short check (length(value) between 1 and 200);
create domain queue.percentage as smallint constraint percentage_is_bounded check (value between 0 and 100);
-- The job to enqueue in the place of another, see on_discard.
create domain queue.follow_up as jsonb constraint follow_up_is_a_job check (
  value is null
  or (
    length(value ->> 'kind') between 1 and 100
    and length(value ->> 'queue') between 1 and 100
    and (value ->> 'priority')::smallint between 1 and 4
    and (value ->> 'max_attempts')::smallint between 1 and 1000
  ) is true
);

drop view queue.all_jobs;

alter table queue.jobs
  alter column queue type queue.queue_name,
  alter column kind type queue.kind_name,
  alter column priority type queue.job_priority,
  alter column attempt type queue.attempt_count,
  alter column max_attempts type queue.attempt_limit,
  alter column crash_count type queue.attempt_count,
  alter column prior_attempts type queue.attempt_count,
  alter column on_discard type queue.follow_up,
  drop constraint jobs_queue_is_named,
  drop constraint jobs_kind_is_named,
  drop constraint jobs_priority_is_known,
  drop constraint jobs_attempts_are_bounded,
  drop constraint jobs_on_discard_is_a_job;

-- New columns are null, or a constant, for nearly all jobs: they cost nothing but bits of the null bitmap.
alter table queue.jobs
  -- Jobs of one key share the limits per key of their queue, take fair turns with those of other keys, and run one
  -- after another if the queue is ordered.
  add column key queue.job_key,
  add column hold queue.hold,
  -- False: once completed, the job leaves nothing behind. Other ends, and failed attempts, are always kept.
  add column keeps_history boolean not null default true,
  add column batch_id bigint,
  add column tags text[],
  -- Set while a running job is to be stopped: who wants it, and why.
  add column cancel_requested_by text,
  add column cancel_reason text,
  -- What the handler told of this or an earlier attempt.
  add column progress queue.percentage,
  add column progress_text text,
  add column checkpoint jsonb,
  -- The id of the key that args are sealed with; null for plain JSON.
  add column args_key text collate "C",
  add constraint jobs_cancel_is_told check ((cancel_requested_by is null) = (cancel_reason is null)),
  -- What became of its members is counted when a batch ends.
  add constraint jobs_of_batches_keep_history check (batch_id is null or keeps_history);

alter table queue.finished_jobs
  add column key text collate "C",
  add column batch_id bigint,
  add column tags text[],
  add column output jsonb,
  add column progress smallint,
  add column progress_text text,
  add column checkpoint jsonb,
  add column args_key text collate "C";

-- What a claim reads: jobs without a key by time, jobs with one by key. Held jobs are in neither.
drop index queue.jobs_waiting;
create index jobs_waiting on queue.jobs (queue, priority, run_at, id)
  where not running and key is null and hold is null;
create index jobs_waiting_by_key on queue.jobs (queue, key, priority, run_at, id)
  where not running and key is not null and hold is null;
create index jobs_until_due on queue.jobs (queue, run_at) where hold = 'until_due';
-- The head of a key, whatever it does, and how many of a key run.
create index jobs_of_key on queue.jobs (queue, key, id) where key is not null;
create index jobs_of_batch on queue.jobs (batch_id) where batch_id is not null;
create index jobs_held on queue.jobs (id) where hold = 'dependencies';
create index jobs_to_cancel on queue.jobs (id) where cancel_reason is not null;
create index finished_jobs_of_batch on queue.finished_jobs (batch_id) where batch_id is not null;

-- Reservations of unique jobs: the latest job of each key. The primary key is what makes a second one impossible.
create table queue.unique_keys (
  key        bytea primary key,
  job_id     bigint not null,
  -- The end of the window; null: for as long as the job is in one of the states that the enqueue names.
  expires_at timestamptz
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- What operators did to single jobs, beside the decisions of queue.resolutions. Append-only, kept for ever.
create table queue.interventions (
  id      bigint generated always as identity primary key,
  job_id  bigint not null,
  action  text not null,
  made_by text not null,
  reason  text not null,
  detail  jsonb,
  made_at timestamptz not null default clock_timestamp(),
  constraint interventions_name_somebody check (made_by <> ''),
  constraint interventions_name_an_action check (action <> '')
);
create index interventions_job on queue.interventions (job_id);

-- Jobs that end together, see 0012.
create table queue.batches (
  id           bigint generated always as identity primary key,
  description  text,
  -- The jobs to enqueue when all members have ended, when all are completed, and when the first one was not.
  on_done      jsonb,
  on_completed jsonb,
  on_failed    jsonb,
  created_at   timestamptz not null default clock_timestamp(),
  failed_at    timestamptz,
  done_at      timestamptz
);
create index batches_open on queue.batches (id) where done_at is null;

-- Which jobs wait for which, until it is resolved. Jobs get ascending ids, and one can only wait for jobs that were
-- enqueued before it: so there are no cycles.
create table queue.dependencies (
  job_id     bigint not null,
  depends_on bigint not null,
  -- What becomes of job_id when depends_on is discarded or cancelled.
  if_failed  text not null default 'cancel',
  primary key (job_id, depends_on),
  constraint dependencies_have_no_cycle check (depends_on < job_id),
  constraint dependencies_say_what_if_failed check (if_failed in ('cancel', 'wait', 'run'))
);
create index dependencies_depends_on on queue.dependencies (depends_on);

-- Queues of which nothing is claimed; '*' is all of them.
create table queue.pauses (
  queue     text collate "C" primary key,
  paused_by text not null,
  reason    text not null,
  paused_at timestamptz not null default clock_timestamp(),
  constraint pauses_name_somebody check (paused_by <> '')
);

-- Queues with rules of their own. Whoever claims from such a queue takes turns with the others who do, see 0010.
create table queue.limits (
  queue               text collate "C" primary key,
  -- The most jobs that run at once, over all workers; of one key.
  max_running         int,
  max_running_per_key int,
  -- The most jobs that start in a period; of one key.
  rate                int,
  rate_per_key        int,
  rate_period         interval not null default '1 second',
  -- Jobs of one key run one after another, in the order of their ids.
  ordered             boolean not null default false,
  -- What a failing job means for those of its key behind it.
  on_poison           text not null default 'block',
  -- For 'skip_after': so many failed attempts.
  skip_after          int,
  set_by              text not null,
  set_at              timestamptz not null default clock_timestamp(),
  constraint limits_are_positive check (
    max_running > 0 and max_running_per_key > 0 and rate > 0 and rate_per_key > 0 and rate_period > '0' is not false
  ),
  constraint limits_say_what_poison_does check (on_poison in ('block', 'skip_after', 'park')),
  constraint limits_skip_after_some check ((on_poison = 'skip_after') = (skip_after is not null) and skip_after > 0 is not false)
);

-- Claims due jobs, lane by lane: a lane is one priority of one queue, and the lanes come in the order of the arrays.
-- `take_xid`: take a transaction id even when nothing is due; `ignored_xid`: transactions up to this id are ignored
-- though they may still run (queue/claim_floor.rs has the reasons for both).
--
-- Each lane is an index range scan from its floor that stops at the first job of the future, so neither finished nor
-- scheduled jobs are read, however many there are. Lanes of queues that are paused or have limits are passed over and
-- told, and so are the queues that queue.claim_by_key must look after.
--
-- A function, because its plan must be one for good that goes by index, on any connection: made while the table is
-- small, it must not be tempted to read it from end to end; nor may each claim be planned anew, which looks for the
-- ends of the indexes and so reads the dead rows there.
create function queue.claim(
  queues text[],
  priorities smallint[],
  floors timestamptz[],
  kinds text[],
  max_jobs int,
  worker uuid,
  lease float8,
  take_xid boolean,
  ignored_xid bigint
) returns table (
  claimed_at timestamptz, oldest_running_xid bigint, own_xid bigint, closed_lanes bigint[], by_key text[],
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
      asked.queue, asked.priority, asked.floor, asked.position,
      exists (select from queue.pauses where pauses.queue = any (array[asked.queue, '*'])) as paused,
      exists (select from queue.limits where limits.queue = asked.queue) as limited
    from unnest(queues, priorities, floors) with ordinality as asked (queue, priority, floor, position)
  ),
  due as materialized (
    select lane.position, job.place
    from lane
    cross join lateral (
      select jobs.ctid as place
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
      limit max_jobs
      for update skip locked
    ) as job
    where not lane.paused and not lane.limited
    -- Rows are pulled one at a time, so the lanes after the one that fills this limit are not even begun.
    limit max_jobs
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
    from due
    -- They are locked, so they are still there.
    where jobs.ctid = due.place
    returning due.position, jobs.*
  ),
  looked_after as materialized (
    select array_agg(distinct lane.queue) as queues
    from lane
    where not lane.paused
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
    claimed.position, claimed.id, claimed.queue::text, claimed.kind::text, claimed.run_at, claimed.attempt::smallint,
    claimed.max_attempts::smallint, claimed.crash_count::smallint, claimed.prior_attempts::smallint, claimed.fence,
    claimed.key::text, claimed.args, claimed.args_key, claimed.checkpoint, claimed.trace_context,
    claimed.last_traceparent
  from looked_after
  left join claimed on true
  order by claimed.position, claimed.run_at, claimed.id;
end $$;

-- Completes jobs under their fences: each leaves the hot table, and enters the history unless its kind keeps none, in
-- one statement. Returns the jobs that were completed, and whether others wait for that; one that is missing belongs
-- to another worker by now (G3, G4). `traceparents` and `outputs` may be null.
--
-- A function, because handlers call it in their own transactions, whose connections have the planner's defaults. A plan
-- made while the hot table is small reads it from end to end, or hashes all that runs, and is kept while the table
-- grows: so here it must look up each job by its id.
create function queue.complete(ids bigint[], fences bigint[], traceparents text[], outputs jsonb[])
returns table (id bigint, wakes boolean)
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
  return query
  with done as (
    delete from queue.jobs
    using unnest(ids, fences, traceparents, outputs) as mine (id, fence, traceparent, output)
    -- The second condition alone would do, but not as an index condition. A job that does not run has no fence.
    where jobs.id = any (ids)
      and jobs.id = mine.id
      and jobs.fence = mine.fence
    returning jobs.*, mine.traceparent, mine.output
  ),
  finished as (
    insert into queue.finished_jobs (
      id, queue, kind, priority, attempt, max_attempts, crash_count, state, run_at, enqueued_at, args, trace_context,
      last_traceparent, key, batch_id, tags, output, progress, progress_text, checkpoint, args_key
    )
    select
      done.id, done.queue, done.kind, done.priority, done.attempt, done.max_attempts, done.crash_count, 'completed',
      done.run_at, done.enqueued_at, done.args, done.trace_context, done.last_traceparent, done.key, done.batch_id,
      done.tags, done.output, done.progress, done.progress_text, done.checkpoint, done.args_key
    from done
    where done.keeps_history
  ),
  attempt as (
    insert into queue.attempts (job_id, attempt, fence, worker_id, started_at, outcome, traceparent)
    select done.id, done.attempt, done.fence, done.worker_id, done.started_at, 'completed', done.traceparent
    from done
    where done.keeps_history
  )
  select
    done.id,
    done.batch_id is not null or exists (select from queue.dependencies where dependencies.depends_on = done.id)
  from done;
end $$;

-- For workers of the version before, which may still run beside newer ones.
create or replace function queue.complete(ids bigint[], fences bigint[]) returns setof bigint
language sql
as $$
  select id from queue.complete(ids, fences, null, null)
$$;

-- Ends job `job` under its fence for good without completing it: `ended_as` is the state it is kept in, `outcome` how
-- its last attempt ended. Returns null when the job belongs to another worker by now.
--
-- With `follow_up`, a discard enqueues the job of on_discard, whose arguments name the discarded job and repeat its
-- arguments. Without, the handler has seen to all that its discard entails in the transaction that this runs in.
create or replace function queue.finish(
  job bigint,
  job_fence bigint,
  ended_as queue.finished_state,
  outcome queue.attempt_outcome,
  error text,
  traceparent text,
  follow_up boolean
) returns bigint
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  finished_id bigint;
begin
  with gone as (
    delete from queue.jobs
    where jobs.id = finish.job and jobs.fence = finish.job_fence and jobs.running
    returning jobs.*
  ),
  finished as (
    insert into queue.finished_jobs (
      id, queue, kind, priority, attempt, max_attempts, crash_count, prior_attempts, state, run_at, enqueued_at, args,
      trace_context, last_traceparent, on_discard, key, batch_id, tags, progress, progress_text, checkpoint, args_key
    )
    select
      gone.id, gone.queue, gone.kind, gone.priority, gone.attempt, gone.max_attempts, gone.crash_count,
      gone.prior_attempts, finish.ended_as, gone.run_at, gone.enqueued_at, gone.args, gone.trace_context,
      coalesce(finish.traceparent, gone.last_traceparent), gone.on_discard, gone.key, gone.batch_id, gone.tags,
      gone.progress, gone.progress_text, gone.checkpoint, gone.args_key
    from gone
  ),
  followed as (
    insert into queue.jobs (queue, kind, priority, max_attempts, args, trace_context)
    select
      gone.on_discard ->> 'queue', gone.on_discard ->> 'kind', (gone.on_discard ->> 'priority')::smallint,
      (gone.on_discard ->> 'max_attempts')::smallint,
      jsonb_build_object('job', gone.id, 'kind', gone.kind, 'args', gone.args), gone.trace_context
    from gone
    where finish.follow_up and finish.ended_as = 'discarded' and gone.on_discard is not null
  )
  insert into queue.attempts (job_id, attempt, fence, worker_id, started_at, outcome, error, traceparent)
  select
    gone.id, gone.attempt, gone.fence, gone.worker_id, gone.started_at, finish.outcome, finish.error,
    finish.traceparent
  from gone
  returning attempts.job_id into finished_id;
  return finished_id;
end $$;

-- Moves a waiting job to the history as cancelled; true if there was one. No attempt was made, so none is recorded.
create function queue.cancel_waiting(job bigint) returns boolean
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
as $$
begin
  with gone as (
    delete from queue.jobs where jobs.id = cancel_waiting.job and not jobs.running returning jobs.*
  )
  insert into queue.finished_jobs (
    id, queue, kind, priority, attempt, max_attempts, crash_count, prior_attempts, state, run_at, enqueued_at, args,
    trace_context, last_traceparent, on_discard, key, batch_id, tags, progress, progress_text, checkpoint, args_key
  )
  select
    gone.id, gone.queue, gone.kind, gone.priority, gone.attempt, gone.max_attempts, gone.crash_count,
    gone.prior_attempts, 'cancelled', gone.run_at, gone.enqueued_at, gone.args, gone.trace_context,
    gone.last_traceparent, gone.on_discard, gone.key, gone.batch_id, gone.tags, gone.progress, gone.progress_text,
    gone.checkpoint, gone.args_key
  from gone;
  return found;
end $$;

-- Cancels a job, wherever it runs: a waiting one at once ('cancelled'), a running one by asking its worker, which
-- looks twice a second ('requested'). 'finished' if it has ended, null if there is none.
create function queue.cancel(job bigint, requested_by text, reason text) returns text
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
  found_job record;
begin
  select jobs.running, jobs.cancel_reason into found_job
  from queue.jobs
  where jobs.id = cancel.job
  for no key update;
  if not found then
    return (select 'finished' from queue.finished_jobs where finished_jobs.id = cancel.job limit 1);
  end if;
  if found_job.cancel_reason is not null and found_job.running then
    return 'requested';
  end if;
  insert into queue.interventions (job_id, action, made_by, reason)
  values (cancel.job, 'cancel', cancel.requested_by, cancel.reason);
  if not found_job.running then
    perform queue.cancel_waiting(cancel.job);
    return 'cancelled';
  end if;
  update queue.jobs
  set cancel_requested_by = cancel.requested_by, cancel_reason = cancel.reason
  where jobs.id = cancel.job;
  return 'requested';
end $$;

-- The state of a job, as people speak of it; null if there is no such job any more.
create function queue.state_of(job bigint) returns text
language sql stable
as $$
  select case
    when running then 'running'
    when hold = 'dependencies' then 'scheduled'
    when run_at <= clock_timestamp() then 'available'
    when attempt > 0 then 'retryable'
    else 'scheduled'
  end
  from queue.jobs
  where id = job
  union all
  select state::text from queue.finished_jobs where id = job
  limit 1
$$;

-- Reserves the unique key of a job of this kind and value for job `candidate`. Null when that was possible; else the
-- job that has it. A reservation holds while its job is in one of `states`, and with a window no longer than that.
--
-- The primary key decides between several at once: the second waits until the first has committed or rolled back.
create function queue.reserve_unique(
  kind text, value jsonb, lasts interval, states text[], candidate bigint
) returns bigint
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
  unique_key constant bytea := sha256(convert_to(jsonb_build_array(kind, value)::text, 'UTF8'));
  holder record;
  state text;
begin
  loop
    insert into queue.unique_keys (key, job_id, expires_at)
    values (unique_key, candidate, clock_timestamp() + lasts)
    on conflict (key) do nothing;
    if found then
      return null;
    end if;
    select unique_keys.job_id, unique_keys.expires_at into holder
    from queue.unique_keys
    where unique_keys.key = unique_key
    for update;
    -- Pruned in this moment: once more.
    continue when not found;
    if holder.expires_at is null or holder.expires_at > clock_timestamp() then
      state := queue.state_of(holder.job_id);
      -- Within its window a job that has left no trace was completed and keeps no history.
      if state is null and holder.expires_at is not null then
        state := 'completed';
      end if;
      if state = any (states) then
        return holder.job_id;
      end if;
    end if;
    update queue.unique_keys
    set job_id = candidate, expires_at = clock_timestamp() + lasts
    where unique_keys.key = unique_key;
    return null;
  end loop;
end $$;

-- Enqueues a job in the caller's transaction, from any language, from a trigger. Gives its id, or with `unique_by` the
-- id of the job that is there already and is_new = false.
--
--   select * from queue.enqueue('send_mail', '{"to": "ada@example.com"}');
--   select * from queue.enqueue('rebuild', '{"shard": 7}', run_at => now() + interval '1 hour', tags => '{nightly}');
--   select * from queue.enqueue('sync', args, unique_by => args, unique_for => interval '1 minute');
--
-- unique_by: jobs of this kind are the same when this is: all arguments, or a part of them. unique_for: for so long;
-- null: while one of them is in unique_while. unique_while: the states in which a job counts; by default all that are
-- not finished, and with unique_for also 'completed'.
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
  trace_context jsonb default null
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
    case when enqueue.key is not null and enqueue.run_at > clock_timestamp() then 'until_due'::queue.hold end,
    coalesce(enqueue.keeps_history, true), enqueue.batch_id, enqueue.tags, enqueue.args_key
  );
  return query select id, true;
end $$;

-- Every job, finished or not, with the state that people speak of. For people, `app verify` and lists; the engine
-- itself never reads it.
create view queue.all_jobs as
select
  id, queue, kind, priority,
  case
    when running then 'running'
    when hold = 'dependencies' then 'scheduled'
    when run_at <= now() then 'available'
    when attempt > 0 then 'retryable'
    else 'scheduled'
  end as state,
  wait_reason, run_at, attempt, max_attempts, crash_count, prior_attempts, fence, worker_id, started_at,
  lease_expires_at, enqueued_at, null::timestamptz as finished_at, args, trace_context, last_traceparent, on_discard,
  key, hold, keeps_history, batch_id, tags, cancel_requested_by, cancel_reason, progress, progress_text, checkpoint,
  args_key, null::jsonb as output
from queue.jobs
union all
select
  id, queue, kind, priority, state::text,
  null, run_at, attempt, max_attempts, crash_count, prior_attempts, null, null, null,
  null, enqueued_at, finished_at, args, trace_context, last_traceparent, on_discard,
  key, null, true, batch_id, tags, null, null, progress, progress_text, checkpoint,
  args_key, output
from queue.finished_jobs;
