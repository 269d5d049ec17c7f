-- Cancels a job, wherever it runs: a waiting one at once ('cancelled'), a running one by asking its worker, which
-- looks twice a second ('requested'). 'finished' if it has ended, null if there is none.
create or replace function queue.cancel(job bigint, requested_by text, reason text) returns text
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
  found_job record;
begin
  select jobs.running, jobs.cancel_reason into found_job
  from queue.jobs
  where jobs.id = cancel.job
  for no key update;
  if not found then
    return (select 'finished' from queue.finished_jobs where finished_jobs.id = cancel.job limit 1);
  end if;
  if found_job.cancel_reason is not null and found_job.running then
    return 'requested';
  end if;
  insert into queue.interventions (job_id, action, made_by, reason)
  values (cancel.job, 'cancel', cancel.requested_by, cancel.reason);
  if not found_job.running then
    perform queue.cancel_waiting(cancel.job);
    return 'cancelled';
  end if;
  update queue.jobs
  set cancel_requested_by = cancel.requested_by, cancel_reason = cancel.reason
  where jobs.id = cancel.job;
  return 'requested';
end $$;
