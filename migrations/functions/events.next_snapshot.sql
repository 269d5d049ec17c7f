-- The first snapshot after `seen` that was kept; null when there is none. What it sees is more than what `seen` sees:
-- snapshots follow each other in the order of their ends, and of two with the same end nobody knows which one is later.
create or replace function events.next_snapshot(seen pg_snapshot) returns pg_snapshot
language plpgsql
set enable_seqscan = off
as $$
begin
  -- They came with a dump, from a database that had counted further, and would tell something else once this one has
  -- counted as far.
  delete from events.snapshots where pg_snapshot_xmax(snapshot) > pg_snapshot_xmax(pg_current_snapshot());
  return (
    select snapshot
    from events.snapshots
    where pg_snapshot_xmax(snapshot) > pg_snapshot_xmax(seen)
    order by pg_snapshot_xmax(snapshot)
    limit 1
  );
end $$;
