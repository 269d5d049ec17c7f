-- Jobs that belong together: dependencies, and batches with callbacks.
--
-- Nothing is counted and no row is hot: the transaction that ends a job says nothing to others. After its commit the
-- worker has the end *resolved*, by queue.resolve, in a transaction of its own, whose statements see all that was
-- committed before. Of two jobs that end at the same moment, each is resolved after its own commit, so whoever takes its
-- snapshot later sees both ended: the last one is never missed. All of it is idempotent, and what a crash between
-- commit and resolve leaves behind, or a job that was enqueued in the very moment in which the one it waits for ended,
-- is found by queue.sweep_groups a second or two later.

-- A callback of a batch, as queue.enqueue_stored takes it. Checked when the batch is made: a callback that cannot be
-- enqueued later would never be.
create domain queue.stored_job as jsonb constraint stored_job_is_a_job check (
  value is null
  or (
    num_nonnulls(
      (value ->> 'kind')::queue.kind_name, (value ->> 'queue')::queue.queue_name,
      (value ->> 'priority')::queue.job_priority, (value ->> 'max_attempts')::queue.attempt_limit,
      (value -> 'args')::queue.job_args
    ) = 5
    and octet_length(value ->> 'args') <= 1048576
    -- These may be missing.
    and num_nonnulls(
      (value ->> 'key')::queue.job_key, (value -> 'on_discard')::queue.follow_up,
      (value ->> 'run_at')::queue.moment, (nullif(value -> 'trace_context', 'null'))::queue.job_trace
    ) >= 0
    and (jsonb_typeof(value -> 'tags') = 'array') is not false
    -- A hundred years.
    and (value ->> 'delay_secs')::float8 between 0 and 3155760000
    and not value ?| array['batch_id', 'held', 'unique']
  ) is true
);

-- Jobs that end together.
create table queue.batches (
  id           bigint generated always as identity primary key,
  description  text,
  -- The jobs to enqueue when all members have ended, when all are completed, and when the first one was not.
  on_done      queue.stored_job,
  on_completed queue.stored_job,
  on_failed    queue.stored_job,
  created_at   timestamptz not null default clock_timestamp(),
  failed_at    timestamptz,
  done_at      timestamptz,
  -- When all members were completed: with done_at, or later if some had to be redriven.
  completed_at timestamptz
);
create index batches_open on queue.batches (id) where done_at is null;
-- Batches that may still be completed, by redriving what was discarded.
create index batches_to_complete on queue.batches (id)
  where done_at is not null and completed_at is null and on_completed is not null;
-- For retention.
create index batches_done on queue.batches (done_at) where done_at is not null;

-- Which jobs wait for which, until it is resolved. Jobs get ascending ids, and one can only wait for jobs that were
-- enqueued before it: so there are no cycles.
create table queue.dependencies (
  job_id        bigint not null,
  depends_on    bigint not null,
  -- What becomes of job_id when depends_on is discarded or cancelled.
  if_failed     text not null default 'cancel',
  -- True once depends_on was seen discarded by a job that waits on for its redrive. Should nothing be left of
  -- depends_on one day, this is what tells that from a completion that left nothing behind.
  parent_failed boolean not null default false,
  primary key (job_id, depends_on),
  constraint dependencies_have_no_cycle check (depends_on < job_id),
  constraint dependencies_say_what_if_failed check (if_failed in ('cancel', 'wait', 'run'))
);
create index dependencies_depends_on on queue.dependencies (depends_on);
