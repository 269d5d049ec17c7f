-- Webhooks that we send: to whom (endpoints), what (deliveries: one event to one endpoint), and how that went (attempts:
-- one HTTP request each).

create schema if not exists deliveries;

create table deliveries.endpoints (
  id              uuid primary key,
  -- The user who hears of what concerns them; null hears of everything. No reference: users are another part's business.
  owner_id        uuid,
  url             text not null,
  description     text,
  -- Names of event types; null means all.
  event_types     text[],
  metadata        jsonb not null default '{}',
  -- Names and values of headers of the owner's own.
  headers         jsonb not null default '{}',
  timeout_ms      int not null,
  -- The most deliveries in a second; null means no limit.
  rate            int,
  -- One after another, in the order of the events.
  ordered         boolean not null default false,
  -- The seed of the ed25519 key that signs beside the secrets; null when switched off. A secret.
  signing_key     text,
  version         bigint not null default 1,
  created_at      timestamptz not null default clock_timestamp(),
  updated_at      timestamptz not null default clock_timestamp(),
  disabled_at     timestamptz,
  disabled_reason text,
  -- Deleted ones are kept, because deliveries name them.
  deleted_at      timestamptz,
  constraint endpoints_timeout_is_bounded check (timeout_ms between 1000 and 30000),
  constraint endpoints_rate_is_positive check (rate > 0),
  constraint endpoints_say_why_disabled check ((disabled_at is null) = (disabled_reason is null))
);
create index endpoints_owner on deliveries.endpoints (owner_id, id) where deleted_at is null;

-- Secrets that sign, each until it expires. Whoever reads this table can sign as we do.
create table deliveries.secrets (
  endpoint_id uuid not null references deliveries.endpoints (id),
  number      bigint generated always as identity,
  secret      text not null,
  created_at  timestamptz not null default clock_timestamp(),
  -- Null: the current one.
  expires_at  timestamptz,
  primary key (endpoint_id, number)
);
create unique index secrets_current_key on deliveries.secrets (endpoint_id) where expires_at is null;

-- What changes with the attempts of an endpoint. Successes in a row change nothing here.
create table deliveries.health (
  endpoint_id   uuid primary key references deliveries.endpoints (id),
  -- Failed attempts since the last success.
  failures      int not null default 0,
  failing_since timestamptz,
  -- Nothing is sent before this, but for one probe when it has passed.
  open_until    timestamptz,
  -- The moment at which the rate allows the next delivery.
  next_slot     timestamptz
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

create type deliveries.state as enum (
  'pending',    -- its job will try, or try again
  'delivered',  -- the endpoint has answered with a 2xx
  'failed'      -- the last attempt of the schedule failed, or the endpoint is gone or disabled
);

create table deliveries.deliveries (
  event_seq   bigint not null,
  endpoint_id uuid not null references deliveries.endpoints (id),
  state       deliveries.state not null default 'pending',
  -- Why it failed, as a stable code; null unless failed.
  reason      text,
  attempts    int not null default 0,
  created_at  timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  primary key (event_seq, endpoint_id),
  constraint deliveries_end_is_dated check ((state = 'pending') = (finished_at is null)),
  constraint deliveries_failure_has_reason check ((state = 'failed') = (reason is not null))
) with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
create index deliveries_endpoint on deliveries.deliveries (endpoint_id, event_seq);
create index deliveries_failed on deliveries.deliveries (endpoint_id, event_seq) where state = 'failed';

create table deliveries.attempts (
  id          bigint generated always as identity primary key,
  event_seq   bigint not null,
  endpoint_id uuid not null,
  at          timestamptz not null default clock_timestamp(),
  -- Of the answer; null when there was none.
  status      int,
  -- What was wrong with the answer, or why there was none, as a stable code; and in more words.
  error       text,
  detail      text,
  duration_ms int not null,
  -- Where the request went, if it went anywhere.
  address     text,
  -- The beginning of the answer.
  answer      text not null,
  constraint attempts_have_an_end check (status is not null or error is not null)
);
create index attempts_delivery on deliveries.attempts (event_seq, endpoint_id, id);

-- Deliveries of one `ordered` endpoint run one after another. What nobody can run blocks those behind it until an
-- operator has decided, as in every ordered queue.
insert into queue.limits (queue, ordered, on_poison, set_by) values ('webhooks_ordered', true, 'block', 'surety');
