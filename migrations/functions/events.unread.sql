-- The events that a reader at this place has not taken, at most so many, in the order of their numbers. The place has
-- its `taking`: the snapshot whose events are being read.
--
-- New is what the reader's snapshot did not see: transactions that were running then, or began later. So an event
-- whose transaction commits late is read late, and never passed over; and nothing is looked at but what is new between
-- the two snapshots, however long other transactions stay open and however much waits behind.
create or replace function events.unread(place events.readers, at_most int) returns setof events.events
language plpgsql stable
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
set jit = off
as $$
begin
  -- A database that was restored from a dump counts transactions anew, and what the reader saw says nothing any more.
  -- What was taken shortly before may be taken once more. Transactions of before the restore have higher numbers than
  -- any now, or are seen as all others are; one that has committed since waits for the next snapshot, as ever.
  if pg_snapshot_xmax(place.seen) > pg_snapshot_xmax(pg_current_snapshot()) then
    return query
      select * from events.events
      where events.seq > greatest(place.highest - 10000, place.last_seq)
        and (
          pg_visible_in_snapshot(events.xid, place.taking)
          or events.xid >= pg_snapshot_xmax(pg_current_snapshot())
        )
      order by events.seq
      limit at_most;
  else
    return query
      select * from events.events
      where (
          (events.xid >= pg_snapshot_xmax(place.seen) and events.xid < pg_snapshot_xmax(place.taking))
          or events.xid = any (array(select pg_snapshot_xip(place.seen)))
        )
        and pg_visible_in_snapshot(events.xid, place.taking)
        -- Expressions, here and below, so that no plan walks all events from some number on.
        and events.seq + 0 > place.last_seq
        -- What was there when a dump was restored was told, but for what had not committed by then.
        and (
          events.seq + 0 > place.restored_below
          or events.xid = any (array(select pg_snapshot_xip(place.seen)))
        )
      order by events.seq + 0
      limit at_most;
  end if;
end $$;
