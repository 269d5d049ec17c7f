-- Gives the waiting jobs $1 the arguments $3, sealed with the keys $4, unless their arguments are no longer $2. What a
-- worker or somebody else has locked is left out.
with mine as materialized (
  select jobs.id, resealed.args, resealed.key
  from unnest($1::bigint[], $2::jsonb[], $3::jsonb[], $4::text[]) as resealed (id, was, args, key)
  join queue.jobs on jobs.id = resealed.id
  where not jobs.running
    and jobs.args = resealed.was
  order by jobs.id
  for update of jobs skip locked
)
update queue.jobs
set
  args = mine.args,
  args_key = mine.key
from mine
where jobs.id = mine.id
  and not jobs.running
