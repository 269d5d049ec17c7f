-- Claims up to $3 due jobs of the kinds $2 with $7 bytes from queue $1 for worker $4 and $5 seconds, going on after key
-- $6; see queue.claim_by_key.
select
  claimed_at as "claimed_at!", again_in, is_cut, id as "id?", queue as "queue?", kind as "kind?", run_at as "run_at?",
  attempt as "attempt?", max_attempts as "max_attempts?", crash_count as "crash_count?",
  prior_attempts as "prior_attempts?", fence as "fence?", key, args as "args?: Json<Box<RawValue>>", args_key,
  checkpoint as "checkpoint?: Json<Box<RawValue>>", trace_context as "trace_context?: Json<TraceContext>", last_traceparent
from queue.claim_by_key($1, $2, $3, $4, $5, $6, $7)
