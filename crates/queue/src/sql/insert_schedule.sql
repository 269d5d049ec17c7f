-- Makes a schedule unless there is one of this name. What has passed by now is none of its business.
insert into queue.schedules (
  name, cron, every_secs, time_zone, policy, policy_max, policy_max_age_secs, kind, args, queue, priority,
  max_attempts, extras, defined_by, settled_at, next_tick_at
)
values ($1, $2, $3, $4, $5, $6, $7, $8::text, $9::jsonb, $10::text, $11, $12, $13, $14, $15, $16)
on conflict (name) do nothing
