-- What requests with an Idempotency-Key were answered, so that the same request sent again is answered the same and
-- done once (draft-ietf-httpapi-idempotency-key-header). Written in the transaction that does the work.

create schema if not exists api;

create table api.idempotency_keys (
  -- The user, 'user:…', by whatever credential he asked. A key means nothing to anybody else.
  caller      text collate "C" not null,
  -- The operation, with the ids in its path.
  route       text collate "C" not null,
  key         text collate "C" not null,
  -- SHA-256 of what the request meant.
  fingerprint bytea not null,
  status      smallint not null,
  location    text,
  content_type text not null,
  body        bytea not null,
  -- The order that was made, if one was. No reference: the rows live for days, orders for ever.
  order_id    uuid,
  created_at  timestamptz not null default clock_timestamp(),
  primary key (caller, route, key)
) with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.1);

-- For pruning, oldest first; rows arrive in order of time.
create index idempotency_keys_created_at on api.idempotency_keys using brin (created_at) with (pages_per_range = 16);
