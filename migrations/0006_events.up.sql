-- What has happened and is told to others: one row per outcome, written in the database transaction of the outcome.
--
-- Readers (whoever announces, whoever relays) take events in the order of `seq`, each once: functions/events.take.sql.
-- Whoever writes an event about an account holds the account's lock, and keeps it until the commit. So of two events of
-- one account, the one that was committed first has the lower number, and is taken first.

create schema if not exists events;

create table events.events (
  seq           bigint generated always as identity primary key,
  -- By which the world knows it: `webhook-id`, the id of a CloudEvent, the key that makes others drop a second one.
  id            uuid not null,
  -- Such as `transfer.completed`.
  type          text collate "C" not null,
  -- What it is about: a transaction's number, or an order's id.
  subject       text collate "C" not null,
  -- The JSON that is sent, byte by byte.
  body          text not null,
  occurred_at   timestamptz not null,
  trace_context jsonb,
  xid           xid8 not null default pg_current_xact_id(),
  constraint events_id_key unique (id)
) with (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);

create index events_subject on events.events (subject);
create index events_xid on events.events (xid);
create index events_occurred_at on events.events using brin (occurred_at) with (pages_per_range = 32);

-- How far each reader is. Everything that `seen` sees is behind it; with `taking`, so is what that sees up to `last_seq`.
create table events.readers (
  name       text collate "C" primary key,
  seen       pg_snapshot not null,
  taking     pg_snapshot,
  last_seq   bigint not null default 0,
  -- The highest number taken so far: where to go on after a restore of a dump, which begins to count transactions anew.
  highest    bigint not null default 0,
  -- Events up to this number were there when a dump was restored: their transactions have numbers of another count.
  restored_below bigint not null default 0,
  updated_at timestamptz not null default clock_timestamp(),
  -- Of several processes that tell others for one reader, the one that does: by a lease in the row itself, which survives
  -- a failover with it and needs no session, so that it holds behind a connection pooler, too.
  holder     uuid,
  held_until timestamptz
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- Whoever turns events into deliveries and mails: it has to hear of the very first one.
insert into events.readers (name, seen) values ('announcements', pg_current_snapshot());
