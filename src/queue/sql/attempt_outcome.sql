-- How the claim with fence $2 of job $1 ended, if its end was recorded: what a worker asks when the answer to its
-- COMMIT was lost.
select outcome as "outcome!: AttemptOutcome"
from queue.attempts
where job_id = $1 and fence = $2
