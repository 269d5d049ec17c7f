-- What inbound webhooks were answered, added up by time, for charts and for whoever asks how long a source has been
-- silent.

create schema if not exists api;

create type api.intake_outcome as enum (
  'accepted', 'duplicate', 'conflict',
  -- With another 4xx.
  'refused',
  -- With 503: the sender will come again.
  'unavailable'
);

create table api.intake (
  -- The time that the row stands for: a minute, a quarter of an hour, an hour, a day of UTC. Each is written by itself,
  -- so a row is complete whoever writes late, and each is dropped at an age of its own.
  step_secs int not null,
  at        timestamptz not null,
  -- Where the webhooks come in.
  source    text collate "C" not null,
  outcome   api.intake_outcome not null,
  webhooks  bigint not null,
  last_at   timestamptz not null,
  primary key (step_secs, at, source, outcome),
  constraint intake_step_is_known check (step_secs in (60, 900, 3600, 86400))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- The last batch of each process, so that one that is sent again because its answer was lost is not added twice.
create table api.intake_writers (
  process_id uuid primary key,
  batch      bigint not null,
  written_at timestamptz not null default clock_timestamp()
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
