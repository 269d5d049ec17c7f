-- The schedule of this name. $2 stands for the database's clock in tests; null otherwise.
select
  name, cron, every_secs, time_zone, policy as "policy: PolicyName", policy_max, policy_max_age_secs, kind,
  args as "args: JsonText", queue, priority, max_attempts, extras as "extras: Json<Extras>", paused_at, paused_by, pause_reason, settled_at,
  next_tick_at, last_tick_at, defined_by, created_at, updated_at,
  coalesce($2::timestamptz, clock_timestamp()) as "as_of!",
  queue.shown_args(kind, args, extras ->> 'args_key') as "shown_args!: JsonText"
from queue.schedules
where name = $1
