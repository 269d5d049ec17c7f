-- Flow control: pauses, limits of queues, and what a failing job means for those of its key behind it.

-- Queues of which nothing is claimed; '*' is all of them.
create table queue.pauses (
  queue     text collate "C" primary key,
  paused_by text not null,
  reason    text not null,
  paused_at timestamptz not null default clock_timestamp(),
  constraint pauses_name_somebody check (paused_by <> '')
);

-- Queues with rules of their own. Whoever claims from such a queue takes turns with the others who do, see
-- functions/claim_by_key.sql.
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
  -- For 'skip_after': that number of failed attempts.
  skip_after          int,
  set_by              text not null,
  set_at              timestamptz not null default clock_timestamp(),
  constraint limits_are_positive check (
    max_running > 0 and max_running_per_key > 0 and rate > 0 and rate_per_key > 0 and rate_period > '0' is not false
  ),
  constraint limits_say_what_poison_does check (on_poison in ('block', 'skip_after', 'park')),
  constraint limits_skip_after_some check ((on_poison = 'skip_after') = (skip_after is not null) and skip_after > 0 is not false)
);

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
-- the period. Only claims write here, one row each however many jobs they take, and they take turns.
create table queue.starts (
  queue   text collate "C" not null,
  -- '' for the queue as a whole.
  key     text collate "C" not null,
  slot    timestamptz not null,
  started int not null,
  primary key (queue, key, slot)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
