-- Claims up to $5 due jobs of the kinds $4 with $10 bytes in the lanes of $1 to $3, for worker $6 and $7 seconds, into
-- $11 slots of the lanes' queues and $12 common ones; $13: and tells which queues have jobs with keys. See queue.claim.
select
  claimed_at as "claimed_at!", oldest_running_xid as "oldest_running_xid!", own_xid, closed_lanes, by_key,
  is_cut as "is_cut!", lane as "lane?", id as "id?", queue as "queue?", kind as "kind?", run_at as "run_at?",
  attempt as "attempt?", max_attempts as "max_attempts?", crash_count as "crash_count?",
  prior_attempts as "prior_attempts?", fence as "fence?", key, args as "args?: Json<Box<RawValue>>", args_key,
  checkpoint as "checkpoint?: Json<Box<RawValue>>", trace_context as "trace_context?: Json<TraceContext>", last_traceparent
from queue.claim($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
