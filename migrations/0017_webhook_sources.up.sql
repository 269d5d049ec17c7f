-- Sources of inbound webhooks that have a shape of their own: which there are, what was rejected of what they sent, and
-- what the later content of a conflict means, which only our own shape of body says by itself.

-- Events that are none of those that a source is there for.
alter type api.intake_outcome add value 'ignored';

-- The sources that some process serves, by its own word; it repeats it every hour.
create table api.webhook_sources (
  name              text collate "C" primary key,
  -- Longer silence should be looked into; null where nobody is to be told.
  silent_after_secs bigint,
  first_declared_at timestamptz not null default clock_timestamp(),
  declared_at       timestamptz not null default clock_timestamp(),
  constraint webhook_sources_silence_is_positive check (silent_after_secs > 0)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- Deliveries that were refused, each body once for each reason, and how often it came. A source keeps its newest: those
-- that anybody can send, and those that were signed, so that forgeries push out nothing that a person should look at.
create table api.webhook_rejections (
  id             bigint generated always as identity primary key,
  source         text collate "C" not null,
  -- The reason as a stable code, and in words.
  reason         text collate "C" not null,
  detail         text not null,
  -- The signature was right.
  is_verified    boolean not null,
  -- Empty where the body was not read.
  body_sha256    bytea not null,
  body_bytes     bigint not null,
  -- The beginning of a body whose signature was right; of others, nothing is kept but size and hash.
  excerpt        text,
  -- The address that the last one came from; null where it is not known.
  address        text,
  received_count bigint not null,
  first_seen_at  timestamptz not null,
  last_seen_at   timestamptz not null,
  constraint webhook_rejections_body_key unique (source, reason, body_sha256),
  constraint webhook_rejections_only_verified_are_shown check (is_verified or excerpt is null)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- The content of conflicts from now on. Of older ones it is read from the body, and so it is again after a revert.
alter table payments.transaction_conflicts
  add column source_account      text,
  add column destination_account text,
  add column amount              numeric(18, 4),
  add column currency            text collate "C",
  add constraint transaction_conflicts_content_is_whole check (
    num_nulls(source_account, destination_account, amount, currency) in (0, 4)
  );
