-- The waiting jobs after number $2 that are to be sealed anew, at most $3, in the order of their numbers: those with
-- another key than $1, and those in plain of kinds that are sealed.
select
  id, kind, args as "args: Json<Box<RawValue>>", args_key,
  exists (select from queue.kinds where kinds.kind = jobs.kind and kinds.sealed) as "to_seal!"
from queue.jobs
where id > $2
  and not running
  and queue.key_of(args, args_key) is distinct from $1
  and (
    queue.key_of(args, args_key) is not null
    or exists (select from queue.kinds where kinds.kind = jobs.kind and kinds.sealed)
  )
order by id
limit $3
