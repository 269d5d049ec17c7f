-- Takes the next events of a reader, at most so many, in the order of their numbers, and moves the reader behind them:
-- once the transaction is committed, nobody takes them again. Of several who take for one reader, one does at a time. A
-- reader that is new begins with the events that are written from now on.
--
-- New is what the reader's snapshot did not see: transactions that were running then, or began later. So an event
-- whose transaction commits late is taken late, and never passed over; and a take reads nothing but new events, however
-- long other transactions stay open.
create or replace function events.take(reader text, at_most int) returns setof events.events
language plpgsql
set plan_cache_mode = force_custom_plan
as $$
declare
  place events.readers;
  is_restored boolean;
  taken int := 0;
  event events.events;
begin
  select * into place from events.readers where readers.name = reader for update;
  if not found then
    insert into events.readers (name, seen) values (reader, pg_current_snapshot()) on conflict (name) do nothing;
    return;
  end if;
  if place.taking is null then
    place.taking := pg_current_snapshot();
    place.last_seq := 0;
  end if;
  -- A database that was restored from a dump counts transactions anew, and what the reader saw says nothing any more.
  -- What was taken shortly before may be taken once more.
  is_restored := pg_snapshot_xmax(place.seen) > pg_snapshot_xmax(pg_current_snapshot());
  if is_restored then
    for event in
      select * from events.events
      where events.seq > greatest(place.highest - 10000, place.last_seq)
      order by events.seq
      limit at_most
    loop
      taken := taken + 1;
      place.last_seq := event.seq;
      return next event;
    end loop;
  else
    for event in
      select * from events.events
      where (
          events.xid >= pg_snapshot_xmax(place.seen)
          or events.xid = any (array(select pg_snapshot_xip(place.seen)))
        )
        and pg_visible_in_snapshot(events.xid, place.taking)
        and events.seq > place.last_seq
      order by events.seq
      limit at_most
    loop
      taken := taken + 1;
      place.last_seq := event.seq;
      return next event;
    end loop;
  end if;
  if taken < at_most then
    place.seen := place.taking;
    place.taking := null;
  end if;
  update events.readers
  set
    seen = place.seen,
    taking = place.taking,
    last_seq = place.last_seq,
    highest = greatest(place.highest, place.last_seq),
    updated_at = clock_timestamp()
  where readers.name = reader;
end $$;
