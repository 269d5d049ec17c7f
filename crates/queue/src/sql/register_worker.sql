-- Says that the worker is there. Inserts it again when it was taken for gone, so that one that was cut off comes back.
insert into queue.workers as worker (id, host, pid, version, queues, kinds, slots, lease, running, draining_at)
values (
  $1, $2, $3, $4, $5, $6, $7, make_interval(secs => $8), $9, case when $10 then clock_timestamp() end
)
on conflict (id) do update
set running = excluded.running,
    last_seen_at = clock_timestamp(),
    draining_at = coalesce(worker.draining_at, excluded.draining_at)
returning drain_requested_by, drain_reason
