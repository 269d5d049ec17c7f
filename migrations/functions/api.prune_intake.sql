-- Drops what is older than it is kept for: minutes two days, quarters of an hour two weeks, hours sixty days, days two
-- years, but never a source's newest day. Of verifications the newest 1,000 stay, rejected webhooks for 30 days.
create or replace function api.prune_intake() returns void
language plpgsql
as $$
declare
  moment timestamptz := clock_timestamp();
begin
  delete from api.intake as old
  using (values
    (60, interval '2 days'), (900, interval '14 days'), (3600, interval '60 days'), (86400, interval '731 days')
  ) as steps (secs, age)
  where old.step_secs = steps.secs
    and old.at < moment - steps.age
    and (
      steps.secs < 86400
      or exists (
        select from api.intake as newer
        where newer.step_secs = old.step_secs and newer.source = old.source and newer.at > old.at
      )
    );
  delete from api.intake_writers where written_at < moment - interval '1 day';
  delete from api.webhook_rejections where last_seen_at < moment - interval '30 days';
  delete from api.verifications where id <= (select max(id) - 1000 from api.verifications);
end $$;
