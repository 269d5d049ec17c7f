-- Sets all limits of queue $1, because $10 says so.
insert into queue.limits (
  queue, max_running, max_running_per_key, rate, rate_per_key, rate_period, ordered, on_poison, skip_after, set_by
)
values ($1, $2, $3, $4, $5, make_interval(secs => $6), $7, $8, $9, $10)
on conflict (queue) do update
set
  max_running = excluded.max_running,
  max_running_per_key = excluded.max_running_per_key,
  rate = excluded.rate,
  rate_per_key = excluded.rate_per_key,
  rate_period = excluded.rate_period,
  ordered = excluded.ordered,
  on_poison = excluded.on_poison,
  skip_after = excluded.skip_after,
  set_by = excluded.set_by,
  set_at = clock_timestamp()
