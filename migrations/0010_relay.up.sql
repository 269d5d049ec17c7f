-- Of several processes that relay for one reader, the one that does: by a lease in the reader's own row, which survives
-- a failover with it and needs no session, so that it holds behind a connection pooler, too.
alter table events.readers
  add column holder     uuid,
  add column held_until timestamptz;
