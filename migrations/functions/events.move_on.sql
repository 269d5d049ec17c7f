-- Moves a reader behind the event of this number, which its holder has peeked at. True, unless somebody else holds the
-- reader now: what was told by the former holder is told again then.
create or replace function events.move_on(reader text, holder uuid, seq bigint) returns boolean
language plpgsql
as $$
begin
  update events.readers
  set last_seq = move_on.seq, highest = greatest(highest, move_on.seq), updated_at = clock_timestamp()
  where readers.name = reader and readers.holder = move_on.holder and taking is not null and last_seq < move_on.seq;
  return found;
end $$;
