-- The discarded jobs that nobody has decided over, in figures: among the $1 oldest and the $1 newest discarded ones, as
-- those in between may be very many that were all decided over.
with oldest as materialized (
  select id, attempt, finished_at from queue.finished_jobs_discarded order by finished_at, id limit $1
),
newest as materialized (
  select id, attempt, finished_at from queue.finished_jobs_discarded order by finished_at desc, id desc limit $1
),
examined as (
  select id, attempt, finished_at from oldest
  union
  select id, attempt, finished_at from newest
)
select
  count(*) as "jobs!",
  (select count(*) from examined) = 2 * $1 as "is_more!",
  (array_agg(id order by finished_at, id))[1] as "oldest_job: JobId",
  min(finished_at) as oldest_at,
  max(finished_at) as newest_at
from examined
where not exists (
  select from queue.resolutions as resolved
  where resolved.job_id = examined.id and resolved.attempt = examined.attempt
)
