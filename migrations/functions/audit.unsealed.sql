-- The numbers of entries that are not sealed yet: those above the sealer's top, and late ones in its gaps.
--
-- By index only: that nearly all are sealed is nothing that the planner knows.
create or replace function audit.unsealed() returns table (seq bigint) language sql stable rows 1000
set enable_seqscan = off set enable_bitmapscan = off as $$
  select entry.seq
  from audit.sealer
  join audit.entries as entry on entry.seq > sealer.top
  union all
  select entry.seq
  from audit.sealer
  cross join unnest(sealer.gap_first, sealer.gap_last) as gap (first, last)
  join audit.entries as entry on entry.seq between gap.first and gap.last
$$;
