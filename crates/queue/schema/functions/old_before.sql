-- The moment before which what is kept for so many days is old. Null while the clock is in doubt: then nothing is old. It
-- is while days of the history are held back, and when no worker has looked at them for a day by this clock, which it may
-- have jumped over just now.
create or replace function queue.old_before(keep_days int) returns timestamptz
language sql as $$
  select clock_timestamp() - make_interval(days => keep_days)
  where not exists (
    select from queue.retention where held_back > 0 or clock_timestamp() > looked_at + interval '1 day'
  )
$$;
