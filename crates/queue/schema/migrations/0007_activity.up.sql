-- Activity: what workers have done, added up by time, and how much waited at each moment. For people and their charts:
-- no claim, lease or rescue reads it, and a worker that cannot write here works on all the same.

-- The time that one row stands for. Each is written by itself, none is made of the others later: so a row is complete
-- as soon as its batches are, whoever wrote late, and each step is dropped at an age of its own.
create type queue.activity_step as enum ('minute', 'quarter', 'hour', 'day');

create type queue.activity_outcome as enum (
  'completed', 'retried', 'discarded', 'cancelled', 'snoozed',
  -- The worker was lost, or cut off; another one has taken the job back.
  'lost'
);

create table queue.activity (
  step    queue.activity_step not null,
  -- The beginning of the minute, quarter of an hour, hour or day, of UTC.
  at      timestamptz not null,
  -- Both are '' in the row of all queues and kinds together, which the others add up to. '_other' stands for those that
  -- were too many.
  queue   text collate "C" not null,
  kind    text collate "C" not null,
  outcome queue.activity_outcome not null,
  -- Attempts that ended so.
  jobs    bigint not null,
  -- How many of them waited, and ran, for how long: one number per bucket, from the shortest times on, without the
  -- zeros at the end. The bounds of the buckets are in src/activity/histogram.rs.
  wait    bigint[] not null,
  run     bigint[] not null,
  primary key (step, at, queue, kind, outcome)
) with (
  -- A row is written some times a minute for as long as its time is; no index changes.
  fillfactor = 70,
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 2000
);

-- The last batch of each worker, so that one that is sent again because its answer was lost is not added twice.
create table queue.activity_writers (
  worker_id  uuid primary key,
  batch      bigint not null,
  written_at timestamptz not null default clock_timestamp()
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- How many due jobs waited, and the oldest of them: looked at once a minute by whoever comes first. Of the longer steps
-- the most of each.
create table queue.depths (
  step        queue.activity_step not null,
  at          timestamptz not null,
  -- '' of all queues together.
  queue       text collate "C" not null,
  waiting     bigint not null,
  oldest_secs float8,
  primary key (step, at, queue)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
