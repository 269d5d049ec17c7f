-- Hands job $1 back under fence $2 as if it had never been claimed, to run in $3 seconds: a snooze, for the reason $4 if
-- it has one, or what a worker does at shutdown with a job that it cannot finish. The attempt does not count and leaves
-- no trace, which is why `attempt` cannot be the fence. Returns whether the job is to be cancelled now that it waits;
-- no row when it belongs to another worker by now.
update queue.jobs
set
  running = false,
  attempt = attempt - 1,
  fence = null,
  worker_id = null,
  started_at = null,
  lease_expires_at = null,
  run_at = clock_timestamp() + make_interval(secs => $3),
  hold = case when key is not null and $3 > 0 then 'until_due'::queue.hold end,
  wait_reason = $4
where id = $1 and fence = $2 and running
returning cancel_reason is not null as "to_be_cancelled!"
