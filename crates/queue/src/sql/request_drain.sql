-- Only workers that will see it, and only once.
update queue.workers
set drain_requested_at = clock_timestamp(), drain_requested_by = $2, drain_reason = $3
where id = any ($1)
  and drain_requested_at is null
  and draining_at is null
  and last_seen_at >= clock_timestamp() - lease
returning id
