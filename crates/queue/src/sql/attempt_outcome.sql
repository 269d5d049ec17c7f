-- How the claim with fence $2 of job $1 ended, if it did: what a worker asks when the answer to its COMMIT was lost.
-- Every end is recorded, one excepted: a completed job of a kind that keeps no history leaves nothing at all. Had
-- somebody else taken the job meanwhile, the rescue would have recorded a crashed attempt under this fence.
select outcome as "outcome!: AttemptOutcome"
from queue.attempts
where job_id = $1 and fence = $2
union all
select 'completed'
where not exists (select from queue.jobs where id = $1)
  and not exists (select from queue.attempts where job_id = $1 and fence = $2)
