-- The discarded jobs that nobody has decided over, newest first: at most $5 of those before ($3, $4), of kind $1 and in
-- queue $2, null for any.
--
-- One statement wrote a job's end and its last attempt, a moment apart; the hour around it spares the lookup all
-- partitions but one or two. A job that an operator discarded says who and why instead.
select
  job.id as "id: JobId", job.queue, job.kind, job.attempt, job.max_attempts, job.crash_count, job.enqueued_at,
  job.finished_at as discarded_at, queue.shown_args(job.kind, job.args, job.args_key) as "args!: JsonText",
  coalesce(by_operator.error, last_attempt.error) as error
from queue.finished_jobs as job
left join lateral (
  select attempts.error
  from queue.attempts
  where attempts.job_id = job.id
    and attempts.attempt = job.attempt
    and attempts.ended_at between job.finished_at - interval '1 hour' and job.finished_at + interval '1 hour'
  limit 1
) as last_attempt on true
left join lateral (
  select format('discarded by %s: %s', told.made_by, told.reason) as error
  from queue.interventions as told
  where told.job_id = job.id and told.action = 'discard' and (told.detail ->> 'attempt')::smallint = job.attempt
  order by told.id desc
  limit 1
) as by_operator on true
where job.state = 'discarded'
  and ($1::text is null or job.kind = $1)
  and ($2::text is null or job.queue = $2)
  and (job.finished_at, job.id) < (coalesce($3, 'infinity'::timestamptz), coalesce($4, 9223372036854775807))
  and not exists (
    select from queue.resolutions as resolved
    where resolved.job_id = job.id and resolved.attempt = job.attempt
  )
order by job.finished_at desc, job.id desc
limit $5
