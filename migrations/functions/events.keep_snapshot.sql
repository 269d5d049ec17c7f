-- Keeps a snapshot with every 500th event, for readers to stop at: events.next_snapshot.sql. Any snapshot serves, of
-- whatever moment; one whose transaction is rolled back is missed by nobody, the next one just comes later.
--
-- A transaction's own snapshots count itself among what they see. Others take theirs while it has not committed, and
-- each later one has to see all that an earlier one does: so here it is one of those that are running.
create or replace function events.keep_snapshot() returns trigger language plpgsql as $$
declare
  own constant xid8 := pg_current_xact_id();
  seen pg_snapshot := pg_current_snapshot();
begin
  if own < pg_snapshot_xmax(seen) then
    seen := (
      select format(
        '%s:%s:%s',
        least(own, pg_snapshot_xmin(seen)), pg_snapshot_xmax(seen), string_agg(running::text, ',' order by running)
      )
      from (select pg_snapshot_xip(seen) union select own) as running (running)
    );
  end if;
  insert into events.snapshots (seq, snapshot) values (new.seq, seen);
  return null;
end $$;
create or replace trigger events_keep_snapshots after insert on events.events
  for each row when (new.seq % 500 = 0)
  execute function events.keep_snapshot();
