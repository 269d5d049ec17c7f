-- True if the days of this partitioned table before `first_kept` may be dropped: there are few of them, or they have been
-- too old for a while, by a clock that was seen to go on all that time. Keeps what it found in queue.retention.
create or replace function queue.may_drop_days(parent regclass, first_kept date) returns boolean
language plpgsql as $$
declare
  -- As many days as pass while nobody works at a weekend.
  few constant int := 3;
  a_while constant interval := '3 days';
  -- Every worker looks every ten minutes.
  gap constant interval := '1 day';
  history_name constant text := 'queue.' || (select relname from pg_class where oid = parent);
  too_old constant int := (
    select count(*)
    from pg_inherits
    join pg_class as child on child.oid = inhrelid
    where inhparent = parent
      and child.relname ~ '_[0-9]{8}$'
      and to_date(right(child.relname, 8), 'YYYYMMDD') < first_kept
  );
  last queue.retention;
  since timestamptz;
begin
  select * into last from queue.retention where history = history_name;
  if too_old > few then
    since := now();
    if last.held_back_since is not null and now() between last.looked_at and last.looked_at + gap then
      since := last.held_back_since;
    end if;
    if now() - since >= a_while then
      since := null;
    end if;
  end if;
  insert into queue.retention (history, held_back, held_back_since, looked_at)
  values (history_name, case when since is null then 0 else too_old end, since, now())
  on conflict (history) do update
  set held_back = excluded.held_back, held_back_since = excluded.held_back_since, looked_at = excluded.looked_at;
  return since is null;
end $$;
