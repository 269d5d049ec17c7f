-- Failures that nobody has dealt with, by fingerprint: jobs that have failed and wait or run again, and discarded ones
-- that nobody has decided over. The `max_groups` that were seen last; with `only_this`, that one alone. Of each so many
-- jobs are counted at most as `max_counted`: `is_capped` says that there are more.
--
-- From one fingerprint to the next by an index, so that the work is that of the groups and of what is counted, and not of
-- all that failed, nor of history. The text is made anew from the error of a sample, the job that failed last, unless
-- retention has dropped that.
create or replace function queue.failures(only_this bigint, max_groups int, max_counted int)
returns table (
  fingerprint bigint, kind text, error text, waiting bigint, discarded bigint, is_capped boolean,
  first_at timestamptz, last_at timestamptz, sample_job bigint
)
language plpgsql stable
set enable_seqscan = off
set enable_bitmapscan = off
set max_parallel_workers_per_gather = 0
set jit = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
  return query
  with recursive of_jobs as (
    (select failure, failed_at as at, id
     from queue.jobs
     where failure is not null and failure <= coalesce(only_this, 9223372036854775807)
     order by failure desc, failed_at desc, id desc
     limit 1)
    union all
    select next.failure, next.failed_at, next.id
    from of_jobs as last
    cross join lateral (
      select jobs.failure, jobs.failed_at, jobs.id
      from queue.jobs
      where jobs.failure is not null and jobs.failure < last.failure and only_this is null
      order by jobs.failure desc, jobs.failed_at desc, jobs.id desc
      limit 1
    ) as next
  ),
  of_discarded as (
    (select failure, finished_at as at, id
     from queue.finished_jobs_discarded
     where failure is not null and failure <= coalesce(only_this, 9223372036854775807)
     order by failure desc, finished_at desc, id desc
     limit 1)
    union all
    select next.failure, next.finished_at, next.id
    from of_discarded as last
    cross join lateral (
      select job.failure, job.finished_at, job.id
      from queue.finished_jobs_discarded as job
      where job.failure is not null and job.failure < last.failure and only_this is null
      order by job.failure desc, job.finished_at desc, job.id desc
      limit 1
    ) as next
  ),
  seen as (
    (select failure, at, id, false as is_discarded from of_jobs limit 1000)
    union all
    (select failure, at, id, true from of_discarded limit 1000)
  ),
  latest as materialized (
    select distinct on (failure) failure, at, id, is_discarded
    from seen
    where only_this is null or failure = only_this
    order by failure, at desc, id desc
  ),
  shown as materialized (
    select * from latest order by at desc, failure limit max_groups
  )
  select
    shown.failure, sample.kind, queue.failure_text(coalesce(by_operator.error, last_attempt.error)),
    least(waiting.jobs, max_counted), least(ended.jobs, max_counted), waiting.jobs + ended.jobs > max_counted,
    least(waiting.first_at, ended.first_at), shown.at, shown.id
  from shown
  cross join lateral (
    select count(*) as jobs, min(failed_at) as first_at
    from (
      select jobs.failed_at
      from queue.jobs
      where jobs.failure = shown.failure
      order by jobs.failure, jobs.failed_at, jobs.id
      limit max_counted + 1
    ) as job
  ) as waiting
  cross join lateral (
    select count(*) as jobs, min(finished_at) as first_at
    from (
      select job.finished_at
      from queue.finished_jobs_discarded as job
      where job.failure = shown.failure
      order by job.failure, job.finished_at, job.id
      limit max_counted + 1
    ) as job
  ) as ended
  cross join lateral (
    (select jobs.kind::text as kind, jobs.attempt
     from queue.jobs
     where jobs.id = shown.id and not shown.is_discarded)
    union all
    (select job.kind, job.attempt
     from queue.finished_jobs_discarded as job
     where job.id = shown.id and shown.is_discarded and job.finished_at = shown.at
     limit 1)
  ) as sample
  left join lateral (
    -- One statement wrote the end of the attempt and the moment, microseconds apart; the hour around it spares the
    -- lookup most partitions.
    select attempts.error
    from queue.attempts
    where attempts.job_id = shown.id
      and attempts.error is not null
      and attempts.ended_at between shown.at - interval '1 hour' and shown.at + interval '1 hour'
    order by attempts.attempt desc
    limit 1
  ) as last_attempt on true
  left join lateral (
    select format('discarded by %s: %s', told.made_by, told.reason) as error
    from queue.interventions as told
    where told.job_id = shown.id
      and told.action = 'discard'
      and (told.detail ->> 'attempt')::smallint = sample.attempt
    order by told.id desc
    limit 1
  ) as by_operator on true
  order by shown.at desc, shown.failure;
end $$;
