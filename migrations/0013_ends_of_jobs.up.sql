-- Deliveries and mails whose job was cancelled or discarded: functions/deliveries.fail_with_job.sql and
-- functions/notices.fail_with_job.sql end them from now on; here are those of before.

-- A mail can fail without ever having been tried. The next migration validates.
alter table notices.mails
  drop constraint mails_tried_with_an_id,
  drop constraint mails_attempts_positive,
  add constraint mails_sent_with_an_id check (
    case status when 'sent' then message_id is not null when 'failed' then true else message_id is null end
  ) not valid,
  add constraint mails_attempts_not_negative check (attempts >= 0) not valid;

-- Nobody would have tried these again. What was discarded and is redriven goes on.
with job as materialized (
  select args, null::queue.finished_state as state
  from queue.jobs
  where kind in ('deliver_webhook', 'deliver_webhook_in_order')
  union all
  select args, state
  from queue.finished_jobs
  where kind in ('deliver_webhook', 'deliver_webhook_in_order')
    and state = 'discarded'
),
known as materialized (
  select args ->> 'event' as event, lower(args ->> 'endpoint') as endpoint, max(state) as ended_as, bool_or(state is null) as is_alive
  from job
  group by 1, 2
)
update deliveries.deliveries as delivery
set
  state = 'failed',
  reason = case when known.ended_as is null then 'job-cancelled' else 'job-discarded' end,
  finished_at = clock_timestamp()
from deliveries.deliveries as pending
left join known on known.event = pending.event_seq::text and known.endpoint = pending.endpoint_id::text
where pending.state = 'pending'
  and known.is_alive is not true
  and delivery.event_seq = pending.event_seq
  and delivery.endpoint_id = pending.endpoint_id
  and delivery.state = 'pending';
