select drain_requested_by, drain_reason
from queue.workers
where id = $1
