-- Takes the next events of a reader, at most so many, in the order of their numbers, and moves the reader behind them:
-- once the transaction is committed, nobody takes them again. Of several who take for one reader, one does at a time. A
-- reader that is new begins with the events that are written from now on.
--
-- Goes from one kept snapshot to the next (events.next_snapshot.sql), and at last to one of its own. Fewer than asked for
-- means that the reader has all that was committed before the call. Which events are new: events.unread.sql.
create or replace function events.take(reader text, at_most int) returns setof events.events
language plpgsql
set plan_cache_mode = force_custom_plan
as $$
declare
  place events.readers;
  taken int := 0;
  -- No snapshot was kept after the one that is taken.
  is_last boolean;
  event events.events;
begin
  select * into place from events.readers where readers.name = reader for update;
  if not found then
    insert into events.readers (name, seen) values (reader, pg_current_snapshot()) on conflict (name) do nothing;
    return;
  end if;
  loop
    is_last := false;
    if place.taking is null then
      place.taking := events.next_snapshot(place.seen);
      is_last := place.taking is null;
      place.taking := coalesce(place.taking, pg_current_snapshot());
      place.last_seq := 0;
    end if;
    for event in select * from events.unread(place, at_most - taken) loop
      taken := taken + 1;
      place.last_seq := event.seq;
      place.highest := greatest(place.highest, event.seq);
      return next event;
    end loop;
    exit when taken >= at_most;
    if pg_snapshot_xmax(place.seen) > pg_snapshot_xmax(pg_current_snapshot()) then
      place.restored_below := place.highest;
    end if;
    place.seen := place.taking;
    place.taking := null;
    exit when is_last;
  end loop;
  update events.readers
  set
    seen = place.seen,
    taking = place.taking,
    last_seq = place.last_seq,
    highest = place.highest,
    restored_below = place.restored_below,
    updated_at = clock_timestamp()
  where readers.name = reader;
end $$;
