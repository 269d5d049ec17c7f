drop view queue.all_jobs;

drop function queue.finish;
drop table queue.resolutions;
drop type queue.resolution;
drop index queue.finished_jobs_discarded_newest;
alter table queue.finished_jobs drop column on_discard, drop column prior_attempts;
alter table queue.jobs drop column wait_reason, drop column on_discard, drop column prior_attempts;

create view queue.all_jobs as
select
  id, queue, kind, priority,
  case
    when running then 'running'
    when run_at <= now() then 'available'
    when attempt > 0 then 'retryable'
    else 'scheduled'
  end as state,
  run_at, attempt, max_attempts, crash_count, fence, worker_id, started_at, lease_expires_at,
  enqueued_at, null::timestamptz as finished_at, args, trace_context, last_traceparent
from queue.jobs
union all
select
  id, queue, kind, priority, state::text,
  run_at, attempt, max_attempts, crash_count, null, null, null, null,
  enqueued_at, finished_at, args, trace_context, last_traceparent
from queue.finished_jobs;
