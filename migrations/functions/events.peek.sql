-- Reads the next events of a reader, at most so many, in the order of their numbers, and leaves the reader where it is:
-- for whoever tells others of them first, with no transaction open, and then moves on (events.move_on.sql). Only the
-- holder of the reader may, whose lease is renewed when half of it is over; anybody else gets the error 55000.
--
-- The snapshot that is read stays the same until all that it has was moved over, so that the same events are read again
-- after a crash. Which events are new: events.unread.sql.
create or replace function events.peek(reader text, holder uuid, lease interval, at_most int) returns setof events.events
language plpgsql
as $$
declare
  place events.readers;
  was_taking boolean;
begin
  select * into place from events.readers where readers.name = reader for update;
  if place.holder is distinct from peek.holder then
    raise exception 'the reader % is held by another', reader using errcode = 'object_not_in_prerequisite_state';
  end if;
  if place.held_until < clock_timestamp() + lease / 2 then
    update events.readers set held_until = clock_timestamp() + lease where readers.name = reader;
  end if;
  if place.taking is not null then
    return query select * from events.unread(place, at_most);
    if found then
      return;
    end if;
    -- All of it was moved over: on to the next snapshot.
    if pg_snapshot_xmax(place.seen) > pg_snapshot_xmax(pg_current_snapshot()) then
      place.restored_below := place.highest;
    end if;
    place.seen := place.taking;
    was_taking := true;
  end if;
  place.taking := pg_current_snapshot();
  place.last_seq := 0;
  return query select * from events.unread(place, at_most);
  if found then
    update events.readers
    set seen = place.seen, taking = place.taking, last_seq = 0, restored_below = place.restored_below
    where readers.name = reader;
  elsif was_taking then
    update events.readers
    set seen = place.taking, taking = null, restored_below = place.restored_below
    where readers.name = reader;
  end if;
end $$;
