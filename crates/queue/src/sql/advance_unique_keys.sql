-- Moves the end of all reservations of unique jobs $1 seconds into the past, for tests.
update queue.unique_keys
set expires_at = expires_at - make_interval(secs => $1)
where expires_at is not null
