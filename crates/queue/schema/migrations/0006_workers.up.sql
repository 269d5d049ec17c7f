-- Which workers there are, and what is known of the kinds of jobs.

-- For people and for those who roll out new versions: no claim, lease or rescue reads it, so a worker that cannot write
-- here works on all the same.
create table queue.workers (
  id                 uuid primary key,
  host               text not null,
  pid                int not null,
  version            text not null,
  queues             text[] not null,
  kinds              text[] not null,
  -- How many jobs it may have in progress, and how many it had when it was last seen.
  slots              int not null,
  running            int not null default 0,
  -- A worker that was not seen for so long has lost its leases: it is gone, or cut off.
  lease              interval not null,
  started_at         timestamptz not null default clock_timestamp(),
  last_seen_at       timestamptz not null default clock_timestamp(),
  -- Somebody wants it to finish its jobs and end. It looks twice a second.
  drain_requested_at timestamptz,
  drain_requested_by text,
  drain_reason       text,
  -- Since when it has claimed nothing more, whoever told it to.
  draining_at        timestamptz,
  constraint workers_drain_is_told check (
    (drain_requested_at is null) = (drain_requested_by is null)
    and (drain_requested_at is null) = (drain_reason is null)
  )
) with (
  -- Few rows, each written every few seconds: no index changes, so they stay on their page.
  fillfactor = 50,
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 200
);

-- Each worker writes here, when it starts, what it knows of its kinds. Several versions of a program run beside each
-- other during every upgrade, and the older one may start last; it must not lay open what the newer one hides. So
-- `redacted` only grows and `sealed` stays true, whoever writes; the other columns are what the last one said. To show
-- a field again that is no longer secret, take it out of `redacted` by hand.
create table queue.kinds (
  kind         text collate "C" primary key,
  -- Fields of the arguments that nobody is shown: names, or paths such as 'card.number'.
  redacted     text[] not null default '{}',
  -- Whether the arguments are encrypted by whoever enqueues such a job.
  sealed       boolean not null default false,
  -- What jobs of the kind are given unless the enqueue says otherwise.
  queue        text collate "C" not null,
  priority     smallint not null,
  max_attempts smallint not null,
  on_discard   jsonb,
  -- When a worker that knows the kind last started.
  seen_at      timestamptz not null default clock_timestamp()
);
