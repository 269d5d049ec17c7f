-- A delivery that failed because its job was discarded goes on when that job is redriven, by the whole schedule.
create or replace function deliveries.resume_with_job() returns trigger
language plpgsql
-- A table that looks small is read from end to end, by a plan that is kept while it grows.
set enable_seqscan = off
as $$
declare
  job_args jsonb;
begin
  select jobs.args into job_args
  from queue.jobs
  where jobs.id = new.job_id and jobs.kind in ('deliver_webhook', 'deliver_webhook_in_order');
  if job_args ->> 'event' ~ '^[0-9]{1,18}$'
    and job_args ->> 'endpoint' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
  then
    update deliveries.deliveries
    set state = 'pending', reason = null, attempts = 0, finished_at = null
    where event_seq = (job_args ->> 'event')::bigint
      and endpoint_id = (job_args ->> 'endpoint')::uuid
      and state = 'failed'
      and reason = 'job-discarded';
  end if;
  return null;
end $$;
create or replace trigger resume_delivery after insert on queue.resolutions
  for each row when (new.resolution = 'redriven')
  execute function deliveries.resume_with_job();
