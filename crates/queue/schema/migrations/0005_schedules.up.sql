-- Schedules: jobs that are enqueued by the clock, by cron expressions in time zones and by intervals. There is no
-- leader: every worker looks for schedules that are due, and the primary key of queue.schedule_ticks is what makes one
-- job per tick, whoever comes first.
--
-- Which moments are ticks is computed by the workers, from the database's clock (schedules/cadence.rs).

create type queue.missed_policy as enum ('skip', 'coalesce', 'catch_up');

create table queue.schedules (
  name         text collate "C" primary key,
  -- When: either a cron expression, read in the time zone, or an interval.
  cron         text,
  every_secs   bigint,
  time_zone    text not null,
  -- What becomes of ticks that nobody ran in time. policy_max_age_secs: for 'skip', how late the latest tick may be
  -- (its grace); for 'catch_up', how old the oldest. policy_max: for 'catch_up', how many.
  policy              queue.missed_policy not null,
  policy_max          smallint,
  policy_max_age_secs bigint,
  -- The job of each tick, as queue.jobs has it.
  kind          queue.kind_name not null,
  args          queue.job_args not null,
  queue         queue.queue_name not null,
  priority      queue.job_priority not null,
  max_attempts  queue.attempt_limit not null,
  -- What most jobs do without, as one object, or null: key, tags, on_discard, no_history, args_key. What cannot be
  -- enqueued when its time comes must not be taken now.
  extras        jsonb,
  -- Who stopped it, when and why; all null while it runs.
  paused_at    timestamptz,
  paused_by    text,
  pause_reason text,
  -- All ticks up to this moment have been settled: they have their jobs, or were missed or passed over.
  settled_at   timestamptz not null,
  -- The first tick after that, to find what is due. Null when there is none in the years that can be told.
  next_tick_at timestamptz,
  -- The last tick that got a job.
  last_tick_at timestamptz,
  -- 'code', or whoever defined it last.
  defined_by   text not null,
  created_at   timestamptz not null default clock_timestamp(),
  updated_at   timestamptz not null default clock_timestamp(),
  constraint schedules_have_a_name check (name ~ '^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,99}$'),
  constraint schedules_have_a_cadence check (num_nonnulls(cron, every_secs) = 1),
  constraint schedules_cron_is_short check (length(cron) between 1 and 200),
  constraint schedules_interval_is_positive check (every_secs > 0),
  constraint schedules_policy_is_bounded check (
    case policy
      when 'skip' then policy_max is null and policy_max_age_secs >= 0
      when 'coalesce' then policy_max is null and policy_max_age_secs is null
      when 'catch_up' then policy_max between 1 and 1000 and policy_max_age_secs >= 0
    end is true
  ),
  constraint schedules_extras_are_a_jobs check (
    num_nonnulls((extras ->> 'key')::queue.job_key, (extras -> 'on_discard')::queue.follow_up) >= 0
  ),
  constraint schedules_pause_is_told check (
    num_nonnulls(paused_at, paused_by, pause_reason) in (0, 3) and paused_by <> '' is not false
  ),
  constraint schedules_name_their_author check (defined_by <> '')
) with (
  fillfactor = 80,
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 500
);

-- What every worker asks once a second: is anything due? Was the clock set back behind what has been settled?
create index schedules_due on queue.schedules (next_tick_at) where paused_at is null;
create index schedules_settled on queue.schedules (settled_at) where paused_at is null;

-- What became of each tick: a job, or none. Dropped by age, and not with the schedule: a job may still ask which tick
-- it is for, and a schedule that is made anew must not run again what has run.
create table queue.schedule_ticks (
  schedule     text collate "C" not null,
  -- When the clock ticked; of a run that somebody asked for, when that was.
  tick_at      timestamptz not null,
  -- The job for this tick, which may be that of a later tick, too. Null: missed.
  job_id       bigint,
  -- Who asked for the run; null for a tick of the clock.
  requested_by text,
  made_at      timestamptz not null default clock_timestamp(),
  primary key (schedule, tick_at),
  constraint schedule_ticks_name_somebody check (requested_by <> '')
);
create index schedule_ticks_job on queue.schedule_ticks (job_id) where job_id is not null;
create index schedule_ticks_made on queue.schedule_ticks (made_at);
