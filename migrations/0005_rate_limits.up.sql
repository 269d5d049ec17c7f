-- Rate limits: one token bucket per class of requests and subject, shared by all nodes (src/http/rate_limits/).

create schema if not exists rate_limits;

-- A bucket is one point in time: when it would be full again if nothing more were taken. That moment past, the bucket is
-- full, and its row says no more than its absence would: it can be pruned.
--
-- Unlogged: a crash of the database empties the table, which makes every bucket full once; for that a lease needs no
-- flush to disk. A standby has no such table's rows, so after a failover buckets are full, too.
create unlogged table rate_limits.buckets (
  -- Of class and subject, by a hash: no name or address of anybody stands here.
  id        uuid primary key,
  full_at   timestamptz not null,
  -- What the last lease was given, and when: how the statement that leases tells its result.
  leased_at timestamptz not null,
  granted   integer not null
) with (
  -- Room on each page for new row versions. No index knows a column that changes, so all updates are heap-only.
  fillfactor = 50,
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 5000,
  autovacuum_analyze_scale_factor = 0,
  autovacuum_analyze_threshold = 50000,
  autovacuum_vacuum_cost_delay = 0
);
