delete from queue.workers
where last_seen_at < clock_timestamp() - interval '1 day'
