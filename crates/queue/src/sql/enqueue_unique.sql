-- Enqueues one unique job, or finds the one that is there. $10 is what it is unique by, $11 the window in seconds or null.
select job_id as "job_id!", is_new as "is_new!"
from queue.enqueue(
  kind => $1, args => $2, queue => $3, priority => $4,
  run_at => coalesce($5::timestamptz, case when $6::float8 > 0 then clock_timestamp() + make_interval(secs => $6) end),
  max_attempts => $7, key => $8, tags => $9::text[], unique_by => $10,
  unique_for => make_interval(secs => $11::float8), unique_while => $12::text[], keeps_history => $13,
  on_discard => $14, batch_id => $15, args_key => $16, trace_context => $17, after => $18::bigint[],
  if_failed => $19
)
