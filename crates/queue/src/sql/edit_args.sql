-- Gives job $1, which is locked and has the arguments $2, other ones, because $3 says so for the reason $4, and returns
-- them, or null if they are too long, which changes nothing: $5, or if that is null, what it has without the fields $6 and with the fields $7. PostgreSQL changes them, because
-- its numbers are exact.
with asked as (
  select coalesce(
    $5::jsonb,
    (case jsonb_typeof($2::jsonb) when 'object' then $2::jsonb else '{}' end - $6::text[]) || $7::jsonb
  ) as args
),
new as materialized (
  select asked.args
  from asked
  where octet_length(asked.args::text) <= (select max_args_bytes from queue.settings)
),
waiting as (
  update queue.jobs
  set args = new.args
  from new
  where jobs.id = $1
),
discarded as (
  update queue.finished_jobs
  set args = new.args::queue.job_args
  from new
  where finished_jobs.id = $1 and finished_jobs.state = 'discarded'
),
told as (
  insert into queue.interventions (job_id, action, made_by, reason, detail)
  select $1, 'edit', $3, $4, jsonb_build_object('old', $2::jsonb, 'new', new.args)
  from new
)
select
  new.args as "args?: JsonText",
  octet_length(asked.args::text) as "bytes!",
  settings.max_args_bytes
from asked
cross join queue.settings
left join new on true
