select
  id, host, pid, version, queues, kinds, slots, running, started_at, last_seen_at,
  case
    when last_seen_at < clock_timestamp() - lease then 'lost'
    when draining_at is not null or drain_requested_at is not null then 'draining'
    else 'working'
  end as "state!: WorkerState",
  drain_requested_at, drain_requested_by, drain_reason, draining_at
from queue.workers
order by started_at, id
