-- The state of an unfinished job, as people speak of it, at a moment: where it is not said otherwise, when the statement
-- began, as claims have it. A plain expression, so that PostgreSQL puts it in place of the call.
create or replace function queue.state_of(job queue.jobs, moment timestamptz default statement_timestamp())
returns text
language sql stable
as $$
  select case
    when job.running then 'running'
    when job.hold = 'dependencies' then 'scheduled'
    when job.run_at <= moment then 'available'
    when job.attempt > 0 then 'retryable'
    else 'scheduled'
  end
$$;

-- The state of any job; null if there is no such job any more.
create or replace function queue.state_of(job bigint, moment timestamptz default statement_timestamp())
returns text
language sql stable
as $$
  select queue.state_of(jobs, moment) from queue.jobs where jobs.id = job
  union all
  select finished_jobs.state::text from queue.finished_jobs where finished_jobs.id = job
  limit 1
$$;
