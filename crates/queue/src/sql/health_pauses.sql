select queue, paused_by, reason, extract(epoch from now() - paused_at)::float8 as "paused_secs!"
from queue.pauses
order by queue
