-- Waits until every transaction that is writing to a table has ended, and returns a moment before which no row of it can
-- be dated any more: what the next statement does not see is dated by clock_timestamp() after that moment.
--
-- A writer takes its lock on the table before it dates its first row, so who is not among the locks here dates it
-- later. The rows up to `newest_row` were there before the clock is read: when it was set back since, their dates count.
--
-- After a second it waits no longer, since a commit may hang (on a standby that is gone), and returns the moment at
-- which the oldest of the writers began. Fails where that is not to be seen: of a prepared transaction, or of another
-- role's.
create or replace function payments.wait_for_writers(written regclass, newest_row timestamptz) returns timestamptz
language plpgsql as $$
declare
  moment timestamptz := greatest(clock_timestamp(), newest_row + interval '1 microsecond');
  gives_up_at timestamptz := clock_timestamp() + interval '1 second';
  writers text[] := array(
    select virtualtransaction from pg_locks
    where locktype = 'relation' and relation = written and mode = 'RowExclusiveLock' and granted
      and database = (select oid from pg_database where datname = current_database())
      and pid is distinct from pg_backend_pid()
  );
  began timestamptz[];
begin
  loop
    select array_agg(lock.virtualtransaction), array_agg(activity.xact_start) into writers, began
    from pg_locks as lock
    left join pg_stat_activity as activity on activity.pid = lock.pid
    where writers <> '{}' and lock.locktype = 'relation' and lock.relation = written and lock.mode = 'RowExclusiveLock'
      and lock.virtualtransaction = any (writers);
    if writers is null then
      return moment;
    elsif clock_timestamp() < gives_up_at then
      perform pg_sleep(0.002);
    elsif array_position(began, null) is null then
      return least(moment, (select min(at) from unnest(began) as at));
    else
      raise lock_not_available using message = format('a transaction that writes to %s does not end', written);
    end if;
  end loop;
end $$;
