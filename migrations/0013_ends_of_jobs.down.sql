drop function deliveries.fail_with_job, deliveries.resume_with_job, notices.fail_with_job cascade;
-- Mails that failed untried stay; what was recorded is not undone.
alter table notices.mails
  drop constraint mails_sent_with_an_id,
  drop constraint mails_attempts_not_negative,
  add constraint mails_tried_with_an_id check ((status in ('sent', 'failed')) = (message_id is not null)) not valid,
  add constraint mails_attempts_positive check (attempts > 0) not valid;
