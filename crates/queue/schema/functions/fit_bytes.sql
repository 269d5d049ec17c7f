-- The first of these jobs, as many as have `max_bytes` of arguments and checkpoints together, but at least one.
create or replace function queue.fit_bytes(picked bigint[], max_bytes bigint) returns bigint[]
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
as $$
begin
  return (
    select coalesce(array_agg(counted.id order by counted.number), '{}')
    from (
      select each_one.id, each_one.number, sum(jobs.bytes) over (order by each_one.number) as total_bytes
      from unnest(picked) with ordinality as each_one (id, number)
      join queue.jobs on jobs.id = each_one.id
      where jobs.id = any (picked)
    ) as counted
    where counted.total_bytes <= max_bytes or counted.number = 1
  );
end $$;
