-- The condition on rows `history` of this partitioned table under which they are kept however old they are, as SQL: they
-- are discarded jobs that nobody has decided over, or attempts of such jobs.
create or replace function queue.kept_undecided(parent regclass) returns text
language sql stable
as $$
  select case parent
    when 'queue.finished_jobs_discarded'::regclass then
      'not exists (
         select from queue.resolutions as resolved
         where resolved.job_id = history.id and resolved.attempt = history.attempt
       )'
    when 'queue.attempts'::regclass then
      'exists (
         select from queue.finished_jobs_discarded as job
         where job.id = history.job_id
           and not exists (
             select from queue.resolutions as resolved
             where resolved.job_id = job.id and resolved.attempt = job.attempt
           )
       )'
    else 'false'
  end
$$;
