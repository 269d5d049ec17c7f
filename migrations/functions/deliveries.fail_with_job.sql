-- A delivery whose job was cancelled or discarded has failed, for that reason: nobody tries it again unless somebody asks
-- for it. A trigger, because jobs end in several ways, and none may forget this; a job that is completed pays nothing.
create or replace function deliveries.fail_with_job() returns trigger
language plpgsql
as $$
begin
  -- What somebody has enqueued by hand may name anything, and must end all the same.
  if new.args ->> 'event' ~ '^[0-9]{1,18}$'
    and new.args ->> 'endpoint' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
    -- Retention moves what was discarded long ago: its delivery may have been asked for again since.
    and new.finished_at >= now()
  then
    update deliveries.deliveries
    set state = 'failed', reason = 'job-' || new.state, finished_at = clock_timestamp()
    where event_seq = (new.args ->> 'event')::bigint
      and endpoint_id = (new.args ->> 'endpoint')::uuid
      and state = 'pending';
  end if;
  return null;
end $$;
create or replace trigger fail_delivery after insert on queue.finished_jobs_cancelled
  for each row when (new.kind in ('deliver_webhook', 'deliver_webhook_in_order'))
  execute function deliveries.fail_with_job();
create or replace trigger fail_delivery after insert on queue.finished_jobs_discarded
  for each row when (new.kind in ('deliver_webhook', 'deliver_webhook_in_order'))
  execute function deliveries.fail_with_job();
