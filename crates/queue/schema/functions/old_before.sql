-- The moment before which what is kept for so many days is old. Null while days of the history are held back, because the
-- clock is in doubt: then nothing is old.
create or replace function queue.old_before(keep_days int) returns timestamptz
language sql as $$
  select clock_timestamp() - make_interval(days => keep_days)
  where not exists (select from queue.retention where held_back > 0)
$$;
