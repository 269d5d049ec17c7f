-- The sum of two histograms, bucket by bucket; the shorter one ends in zeros.
create or replace function queue.add_histograms(one bigint[], other bigint[]) returns bigint[]
language sql immutable
as $$
  select coalesce(array_agg(coalesce(a, 0) + coalesce(b, 0) order by bucket), '{}')
  from unnest(one, other) with ordinality as both_of (a, b, bucket)
$$;
