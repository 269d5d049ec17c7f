-- Drops the daily partitions of a partitioned table that ended more than `keep_days` days ago, and says how many. A
-- partition that somebody is reading is left for the next time, rather than making everybody else wait for the lock.
create or replace function queue.drop_old_partitions(parent regclass, keep_days int) returns int
language plpgsql set lock_timeout = '500ms' as $$
declare
  partition record;
  dropped int := 0;
begin
  for partition in
    select child.oid::regclass as name
    from pg_inherits
    join pg_class as child on child.oid = inhrelid
    where inhparent = parent
      and child.relname ~ '_[0-9]{8}$'
      and to_date(right(child.relname, 8), 'YYYYMMDD') < (now() at time zone 'utc')::date - keep_days
  loop
    begin
      execute format('drop table %s', partition.name);
      dropped := dropped + 1;
    exception when lock_not_available then
      null;
    end;
  end loop;
  return dropped;
end $$;
