-- The jobs from id $2 to before id $1 that match, newest first, at most $3.
--
-- $4: of the unfinished those in these states, $5: of the finished those in these. Null means any in: $6 kinds, $7
-- queues, $8 tags (all of them), $9 keys, $10 part of the last error, $11 the least attempt, $12 and $13 enqueued since
-- and until (not including it), $16 ids, $17 and $18 failed since and until, $19 discarded and decided over or not, $20 the
-- fingerprint of the last failure, $21 failed or ended at that moment at the latest, if at all. Of each pair in $14 and $15
-- the arguments contain at least one.
--
-- The caller bounds the ids (queue.page_start), so that this reads and sorts some thousand jobs at most. The finished
-- ones state by state, because their partitions are by that.
select
  job.id as "id!: JobId", job.queue as "queue!", job.kind as "kind!", job.state as "state!: JobState",
  job.priority as "priority!", job.attempt as "attempt!", job.max_attempts as "max_attempts!", job.run_at as "run_at!",
  job.enqueued_at as "enqueued_at!", job.finished_at, job.key, job.tags, job.batch_id,
  queue.shown_args(job.kind, job.args, job.args_key) as "args!: JsonText", last_error.text as "error?",
  last_error.failed_at as "failed_at?", job.failure as "fingerprint: Fingerprint"
from (
  select
    id, queue, kind, queue.state_of(jobs) as state, priority, attempt, attempt - running::int as ended_attempt,
    max_attempts, run_at, enqueued_at, null::timestamptz as finished_at, key, tags, batch_id, args, args_key, failure,
    failed_at as changed_at
  from queue.jobs
  where id < $1 and id >= $2 and $4::text[] <> '{}'
  union all
  select
    id, queue, kind, state::text, priority, attempt, attempt, max_attempts, run_at, enqueued_at, finished_at, key, tags,
    batch_id, args, args_key, failure, finished_at
  from queue.finished_jobs
  where state = 'completed' and 'completed' = any ($5::text[]) and id < $1 and id >= $2
    and finished_at >= coalesce($12::timestamptz, '-infinity')
  union all
  select
    id, queue, kind, state::text, priority, attempt, attempt, max_attempts, run_at, enqueued_at, finished_at, key, tags,
    batch_id, args, args_key, failure, finished_at
  from queue.finished_jobs
  where state = 'cancelled' and 'cancelled' = any ($5::text[]) and id < $1 and id >= $2
    and finished_at >= coalesce($12::timestamptz, '-infinity')
  union all
  select
    id, queue, kind, state::text, priority, attempt, attempt, max_attempts, run_at, enqueued_at, finished_at, key, tags,
    batch_id, args, args_key, failure, finished_at
  from queue.finished_jobs
  where state = 'discarded' and 'discarded' = any ($5::text[]) and id < $1 and id >= $2
    and finished_at >= coalesce($12::timestamptz, '-infinity')
) as job
left join lateral (
  select attempts.error, attempts.ended_at
  from queue.attempts
  where job.state <> 'completed'
    and job.ended_attempt > 0
    and attempts.job_id = job.id
    and attempts.attempt = job.ended_attempt
    -- Spares the lookup most partitions.
    and attempts.ended_at >= job.enqueued_at
    and attempts.ended_at <= coalesce(job.finished_at + interval '1 hour', 'infinity')
  limit 1
) as last_attempt on true
left join lateral (
  -- An operator who discards a job says why; otherwise its last attempt does.
  select
    coalesce(
      (select format('discarded by %s: %s', made_by, reason)
       from queue.interventions
       where interventions.job_id = job.id
         and action = 'discard'
         and job.state = 'discarded'
         and (detail ->> 'attempt')::smallint = job.attempt
       order by id desc
       limit 1),
      last_attempt.error
    ) as text,
    case when job.state = 'discarded' then job.finished_at else last_attempt.ended_at end as failed_at
  where job.state <> 'completed' and (last_attempt.error is not null or job.state = 'discarded')
) as last_error on true
where (job.finished_at is not null or job.state = any ($4))
  and ($6::text[] is null or job.kind = any ($6))
  and ($7::text[] is null or job.queue = any ($7))
  and ($8::text[] is null or job.tags @> $8)
  and ($9::text[] is null or job.key = any ($9))
  and ($10::text is null or strpos(lower(last_error.text), lower($10)) > 0)
  and ($11::smallint is null or job.attempt >= $11)
  and ($12 is null or job.enqueued_at >= $12)
  and ($13::timestamptz is null or job.enqueued_at < $13)
  and not exists (
    select from unnest($14::jsonb[], $15::jsonb[]) as wanted (one, other)
    where not (job.args @> wanted.one or job.args @> wanted.other)
  )
  and ($16::bigint[] is null or job.id = any ($16))
  and ($17::timestamptz is null or last_error.failed_at >= $17)
  and ($18::timestamptz is null or last_error.failed_at < $18)
  and (
    $19::boolean is null
    or job.state = 'discarded' and $19 = exists (
      select from queue.resolutions as decided
      where decided.job_id = job.id and decided.attempt = job.attempt
    )
  )
  and ($20::bigint is null or job.failure = $20)
  and ($21::timestamptz is null or job.changed_at is null or job.changed_at <= $21)
order by job.id desc
limit $3
