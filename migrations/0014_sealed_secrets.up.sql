-- Secrets of endpoints are stored sealed where keys are set (APP_JOB_KEYS), each by itself, as `{"sealed": …, "key": …}`: a
-- value of `headers`, `signing_key`, `deliveries.secrets.secret`. In plain they are texts of other forms. The public key is
-- stored beside, so that it can be shown by processes that do not know the keys; null in rows of before whose signing key is
-- in plain, from which it is read.
alter table deliveries.endpoints add column public_key text;

-- Of the migration before.
alter table notices.mails
  validate constraint mails_sent_with_an_id,
  validate constraint mails_attempts_not_negative;
