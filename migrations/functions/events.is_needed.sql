-- Whether somebody still needs an event: a reader that has not taken it, or a delivery, which is shown with it.
--
-- The same as events.unread.sql tells of what a reader has before it. Of a reader that has seen a database before it was
-- restored, and has not read since, nothing is known: it needs everything.
create or replace function events.is_needed(seq bigint, xid xid8) returns boolean
language sql stable as $$
  select
    exists (
      select from events.readers as reader
      where pg_snapshot_xmax(reader.seen) > pg_snapshot_xmax(pg_current_snapshot())
        or not (
          pg_visible_in_snapshot(is_needed.xid, reader.seen)
          or (
            is_needed.seq <= reader.restored_below
            and is_needed.xid <> all (array(select pg_snapshot_xip(reader.seen)))
          )
        )
    )
    or exists (select from deliveries.deliveries where deliveries.event_seq = is_needed.seq)
$$;
