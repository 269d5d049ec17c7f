select count(*) as "running!"
from queue.jobs
where running and queue = $1
