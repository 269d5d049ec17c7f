-- Completes the jobs $1 under their fences $2: each leaves the hot table and enters the history, in one statement.
-- Returns the jobs that were completed; one that is missing belongs to another worker by now (G3, G4).
with done as (
  delete from queue.jobs
  using unnest($1::bigint[], $2::bigint[]) as mine (id, fence)
  where jobs.id = mine.id
    and jobs.fence = mine.fence
    and jobs.running
  returning jobs.*
),
finished as (
  insert into queue.finished_jobs (
    id, queue, kind, priority, attempt, max_attempts, crash_count, state, run_at, enqueued_at, args, trace_context,
    last_traceparent
  )
  select
    id, queue, kind, priority, attempt, max_attempts, crash_count, 'completed', run_at, enqueued_at, args,
    trace_context, last_traceparent
  from done
),
attempt as (
  insert into queue.attempts (job_id, attempt, fence, worker_id, started_at, outcome)
  select id, attempt, fence, worker_id, started_at, 'completed'
  from done
)
select id as "id!" from done
