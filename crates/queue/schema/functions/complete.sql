-- Completes jobs under their fences. Returns those that were completed, and whether others wait for that; one that is
-- missing belongs to another worker by now (G3, G4). `traceparents` of the attempts and `outputs` are as long as `ids`,
-- or null.
create or replace function queue.complete(
  ids bigint[], fences bigint[], traceparents text[] default null, outputs jsonb[] default null
) returns table (id bigint, wakes boolean)
language plpgsql
as $$
#variable_conflict use_column
begin
  return query
  select ended.id, ended.wakes
  from queue.end_jobs(
    ids, fences, 'completed', 'completed', traceparents => traceparents, outputs => outputs
  ) as ended;
end $$;
