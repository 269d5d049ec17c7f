-- Drops the daily partitions of a partitioned table that ended more than `keep_days` days ago, and says how many. A
-- partition that somebody is reading is left for the next time, rather than making everybody else wait for the lock.
--
-- What may not be dropped is kept in the default partition, and dropped from there once it may: discarded jobs that nobody
-- has decided over, and their attempts. A job whose follow-up has not run yet is one of them.
--
-- More than three days at once are dropped only when they have been too old for three days, of which each was seen: so
-- where the clock is wrong, or was just set, somebody can set it right. Meanwhile queue.retention says how many are held
-- back.
create or replace function queue.drop_old_partitions(parent regclass, keep_days int) returns int
language plpgsql set lock_timeout = '500ms' as $$
declare
  first_kept constant date := (now() at time zone 'utc')::date - keep_days;
  other constant text := quote_ident((select relname from pg_class where oid = parent) || '_other');
  kept constant text := queue.kept_undecided(parent);
  partition record;
  dropped int := 0;
begin
  if not queue.may_drop_days(parent, first_kept) then
    return 0;
  end if;
  for partition in
    select child.oid::regclass as name
    from pg_inherits
    join pg_class as child on child.oid = inhrelid
    where inhparent = parent
      and child.relname ~ '_[0-9]{8}$'
      and to_date(right(child.relname, 8), 'YYYYMMDD') < first_kept
  loop
    begin
      execute format('alter table %s detach partition %s', parent, partition.name);
      execute format('insert into queue.%s select * from %s as history where %s', other, partition.name, kept);
      execute format('drop table %s', partition.name);
      dropped := dropped + 1;
    exception when lock_not_available then
      null;
    end;
  end loop;
  execute format(
    'delete from queue.%s as history where %s < %L and not (%s)',
    other,
    case parent when 'queue.attempts'::regclass then 'ended_at' else 'finished_at' end,
    first_kept::timestamp at time zone 'utc',
    kept
  );
  return dropped;
end $$;
