-- What may be done to the jobs $1: each with its state, and what forbids a change. Those that do not exist are missing.
select
  asked.id as "id!: JobId",
  coalesce(waiting.kind, finished.kind) as "kind!",
  case when waiting.id is not null then queue.state_of(waiting) else finished.state::text end as "state!: JobState",
  waiting.hold is not distinct from 'dependencies' as "is_held!",
  exists (
    select from queue.blocked_keys as blocked where blocked.job_id = waiting.id and blocked.cause = 'parked'
  ) as "is_parked!",
  coalesce(waiting.keeps_history, true) as "keeps_history!",
  coalesce(finished.attempt >= 1000, false) as "is_exhausted!",
  exists (
    select from queue.resolutions as resolved
    where resolved.job_id = asked.id and resolved.attempt = coalesce(waiting.attempt, finished.attempt)
  ) as "is_decided!"
from unnest($1::bigint[]) with ordinality as asked (id, position)
left join queue.jobs as waiting on waiting.id = asked.id
left join lateral (
  select kind, state, attempt
  from queue.finished_jobs
  -- Only then is it looked for in all partitions.
  where waiting.id is null and finished_jobs.id = asked.id
  limit 1
) as finished on true
where waiting.id is not null or finished.state is not null
order by asked.position
