-- Gives the discarded jobs $1 the arguments $3, sealed with the keys $4, unless their arguments are no longer $2.
with mine as materialized (
  select finished_jobs.id, resealed.args, resealed.key
  from unnest($1::bigint[], $2::jsonb[], $3::jsonb[], $4::text[]) as resealed (id, was, args, key)
  join queue.finished_jobs on finished_jobs.id = resealed.id
  where finished_jobs.state = 'discarded'
    and finished_jobs.args = resealed.was
  order by finished_jobs.id
  for update of finished_jobs skip locked
)
update queue.finished_jobs
set
  args = mine.args,
  args_key = mine.key
from mine
where finished_jobs.id = mine.id
  and finished_jobs.state = 'discarded'
