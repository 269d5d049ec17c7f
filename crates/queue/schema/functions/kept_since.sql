-- The moment from which on the rows of a partitioned table are kept: the first day that has a partition. Null without
-- any.
create or replace function queue.kept_since(parent regclass) returns timestamptz
language sql stable parallel safe as $$
  select min(to_date(right(child.relname, 8), 'YYYYMMDD'))::timestamp at time zone 'utc'
  from pg_inherits
  join pg_class as child on child.oid = inhrelid
  where inhparent = parent
    and child.relname ~ '_[0-9]{8}$'
$$;
