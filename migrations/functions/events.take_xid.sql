-- Whoever writes an event has the number of his transaction before the event has its own. Else, of two that write at the
-- same time, the one with the lower event could get its transaction's number only after the other one was read, and a
-- reader that goes by the numbers of events for once, as after a restore, would pass over it.
create or replace function events.take_xid() returns trigger language plpgsql as $$
begin
  perform pg_current_xact_id();
  return null;
end $$;
create or replace trigger events_follow_their_xid before insert on events.events
  for each statement execute function events.take_xid();
