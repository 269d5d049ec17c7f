-- Cancels jobs that wait although their cancelling was requested: their worker was lost, or ended the attempt in the
-- moment of the request.
select queue.cancel_waiting(id)
from queue.jobs
where cancel_reason is not null and not running
limit 500
