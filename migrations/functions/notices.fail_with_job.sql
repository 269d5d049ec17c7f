-- A mail whose job was cancelled or discarded has failed, for that reason, unless its outcome is known already: a job that
-- gave up has recorded why. A trigger, because jobs end in several ways, and none may forget this.
create or replace function notices.fail_with_job() returns trigger
language plpgsql
as $$
declare
  about jsonb := case new.kind
    when 'send_notice' then jsonb_build_object('kind', 'endpoint', 'id', new.args #>> '{notice,id}')
    else new.args -> 'about'
  end;
begin
  -- What somebody has enqueued by hand may name anything, and must end all the same.
  if new.args ->> 'event' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
    and new.args ->> 'user' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
    and new.args ->> 'email' is not null
    and about ->> 'kind' = any (enum_range(null::notices.subject_kind)::text[])
    and about ->> 'id' is not null
    -- Retention moves what was discarded long ago: its mail may be on record no longer.
    and new.finished_at >= now()
  then
    insert into notices.mails (event_id, user_id, subject_kind, subject_id, email, status, reason, attempts)
    values (
      (new.args ->> 'event')::uuid, (new.args ->> 'user')::uuid, (about ->> 'kind')::notices.subject_kind, about ->> 'id',
      new.args ->> 'email', 'failed', 'job-' || new.state, new.attempt
    )
    on conflict do nothing;
  end if;
  return null;
end $$;
create or replace trigger fail_mail after insert on queue.finished_jobs_cancelled
  for each row when (new.kind in ('send_transaction_email', 'send_notice'))
  execute function notices.fail_with_job();
create or replace trigger fail_mail after insert on queue.finished_jobs_discarded
  for each row when (new.kind in ('send_transaction_email', 'send_notice'))
  execute function notices.fail_with_job();
