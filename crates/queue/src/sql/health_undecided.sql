-- Discarded jobs that nobody has decided over for $1 seconds: the first one, and how many there are up to $2.
with undecided as materialized (
  select job.id, job.kind, job.finished_at
  from queue.finished_jobs_discarded as job
  where job.finished_at < clock_timestamp() - make_interval(secs => $1)
    and not exists (
      select from queue.resolutions as resolved
      where resolved.job_id = job.id and resolved.attempt = job.attempt
    )
  order by job.finished_at
  limit $2
)
select
  id, kind, extract(epoch from clock_timestamp() - finished_at)::float8 as "age_secs!",
  (select count(*) from undecided) as "jobs!"
from undecided
order by finished_at
limit 1
