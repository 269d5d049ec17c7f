-- Mail to users: what became of each, and who wants none.

create schema if not exists notices;

create type notices.mail_status as enum (
  -- The mail server has taken it.
  'sent',
  -- It will not be sent: the mail server refused it for good, or could not be reached for days.
  'failed',
  -- The user wanted no mail when it was to be sent.
  'switched_off',
  -- The worker had no mail server.
  'not_configured'
);

-- What a mail is about.
create type notices.subject_kind as enum ('transaction', 'deposit', 'withdrawal', 'transfer', 'refund', 'endpoint');

-- One row per mail that has its outcome, written together with the end of its job. A failed one that an operator has sent
-- again becomes a sent one; else rows are not changed.
create table notices.mails (
  -- With the user the effect key (G6): one mail to each for one event.
  event_id     uuid not null,
  user_id      uuid not null,
  subject_kind notices.subject_kind not null,
  -- As people know it: a provider's transaction_id, or the id of an order or endpoint.
  subject_id   text collate "C" not null,
  -- Where it went; not in what lists show.
  email        text collate "C" not null,
  -- Of the mail that was sent or tried; null when none was.
  message_id   text collate "C",
  status       notices.mail_status not null,
  -- Why it failed, as a stable code.
  reason       text collate "C",
  -- How often it was tried, the last time included.
  attempts     smallint not null,
  ended_at     timestamptz not null default clock_timestamp(),
  constraint mails_pkey primary key (event_id, user_id),
  constraint mails_failed_for_a_reason check ((status = 'failed') = (reason is not null)),
  constraint mails_tried_with_an_id check ((status in ('sent', 'failed')) = (message_id is not null)),
  constraint mails_attempts_positive check (attempts > 0)
);

-- For the timeline of what they are about.
create index mails_subject on notices.mails (subject_kind, subject_id, ended_at);

-- Users who have said whether they want mail; all others do.
create table notices.preferences (
  user_id             uuid primary key,
  email_notifications boolean not null,
  updated_at          timestamptz not null default clock_timestamp()
);
