-- Gives a schedule, which the caller has locked and settled, another definition. A pause stays.
update queue.schedules
set
  cron = $2,
  every_secs = $3,
  time_zone = $4,
  policy = $5,
  policy_max = $6,
  policy_max_age_secs = $7,
  kind = $8::text,
  args = $9::jsonb,
  queue = $10::text,
  priority = $11,
  max_attempts = $12,
  extras = $13,
  defined_by = $14,
  settled_at = $15,
  next_tick_at = $16,
  updated_at = clock_timestamp()
where name = $1
