-- What operators decided over discarded jobs, and did to single jobs. Both are append-only, small, and kept for ever.

create type queue.resolution as enum ('redriven', 'dismissed');

-- Decisions over discarded jobs. History is never changed, and its partitions are dropped, so this stands beside it.
-- The key makes it impossible to decide twice over one discard; a job that is discarded again after a redrive has begun
-- more attempts, and is decided over anew.
create table queue.resolutions (
  job_id      bigint not null,
  -- The attempt that the job was discarded at.
  attempt     smallint not null,
  resolution  queue.resolution not null,
  resolved_by text not null,
  reason      text not null,
  resolved_at timestamptz not null default clock_timestamp(),
  primary key (job_id, attempt),
  constraint resolutions_name_somebody check (resolved_by <> '')
);

-- Everything else that operators did to single jobs.
create table queue.interventions (
  id      bigint generated always as identity primary key,
  job_id  bigint not null,
  action  text not null,
  made_by text not null,
  reason  text not null,
  detail  jsonb,
  made_at timestamptz not null default clock_timestamp(),
  constraint interventions_name_somebody check (made_by <> ''),
  constraint interventions_name_an_action check (action <> '')
);
create index interventions_job on queue.interventions (job_id);
