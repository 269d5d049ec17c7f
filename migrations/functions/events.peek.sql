-- Reads the next events of a reader, at most so many, in the order of their numbers, and leaves the reader where it is:
-- for whoever tells others of them first, with no transaction open, and then moves on (events.move_on.sql). Only the
-- holder of the reader may, whose lease is renewed when half of it is over; anybody else gets the error 55000.
--
-- The snapshot that is read stays the same until all that it has was moved over, so that the same events are read again
-- after a crash; then comes the next one that was kept (events.next_snapshot.sql), and at last one of its own. Which
-- events are new: events.unread.sql.
create or replace function events.peek(reader text, holder uuid, lease interval, at_most int) returns setof events.events
language plpgsql
as $$
declare
  place events.readers;
  -- The place is not the stored one any more. Whoever finds nothing but that there is nothing new writes nothing.
  has_moved boolean := false;
  -- No snapshot was kept after the one that was read before.
  is_last boolean;
begin
  select * into place from events.readers where readers.name = reader for update;
  if place.holder is distinct from peek.holder then
    raise exception 'the reader % is held by another', reader using errcode = 'object_not_in_prerequisite_state';
  end if;
  if place.held_until < clock_timestamp() + lease / 2 then
    update events.readers set held_until = clock_timestamp() + lease where readers.name = reader;
  end if;
  loop
    is_last := false;
    if place.taking is null then
      place.taking := events.next_snapshot(place.seen);
      is_last := place.taking is null;
      place.taking := coalesce(place.taking, pg_current_snapshot());
      place.last_seq := 0;
      has_moved := has_moved or not is_last;
    end if;
    return query select * from events.unread(place, at_most);
    if found then
      has_moved := has_moved or is_last;
      exit;
    end if;
    -- All of it was moved over: on to the next snapshot.
    if pg_snapshot_xmax(place.seen) > pg_snapshot_xmax(pg_current_snapshot()) then
      place.restored_below := place.highest;
    end if;
    place.seen := place.taking;
    place.taking := null;
    exit when is_last;
    has_moved := true;
  end loop;
  if has_moved then
    update events.readers
    set seen = place.seen, taking = place.taking, last_seq = place.last_seq, restored_below = place.restored_below
    where readers.name = reader;
  end if;
end $$;
