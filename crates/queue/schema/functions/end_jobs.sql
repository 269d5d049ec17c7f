-- Ends jobs: each leaves queue.jobs and enters the history, in one statement. Every end goes through here, whoever
-- decides it, so this is the one list of what history keeps of a job, and the one place that enqueues follow-ups.
--
--   ids, fences: running jobs, each under its fence (G3, G4). With `fences` null: jobs that wait.
--   ended_as: the state that they are kept in. A completed job of a kind that keeps no history is not kept.
--   outcome, errors, traceparents: of their last attempts. With `outcome` null no attempt is recorded, and the error is
--   but what the failure of a discarded job is told by.
--   outputs: of completed jobs. This array and the two before it are as long as `ids`, or null.
--   crashes: how many more attempts count as those of a lost worker.
--   follow_up: a discarded job enqueues the job of its on_discard, whose arguments name it and repeat its arguments.
--
-- Returns the jobs that were ended, and whether others wait for that; one that is missing belongs to another worker by
-- now. Nothing here costs a job that does not use it: no job is looked for in queue.dependencies while that is empty.
--
-- Handlers call this in their own transactions, whose connections have the planner's defaults. A plan made while the
-- hot table is small reads it from end to end, or hashes all that runs, and is kept while the table grows: so here it
-- must look up each job by its id.
create or replace function queue.end_jobs(
  ids bigint[],
  fences bigint[],
  ended_as queue.finished_state,
  outcome queue.attempt_outcome,
  errors text[] default null,
  traceparents text[] default null,
  outputs jsonb[] default null,
  crashes int default 0,
  follow_up boolean default false
) returns table (id bigint, wakes boolean)
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
  if follow_up and ended_as = 'discarded' then
    -- A statement of its own, because within the one below every completion would pay for it. What it locks is what
    -- that one ends. The transaction gets its id before the clock is read for run_at (worker/claim/floor.rs).
    perform pg_current_xact_id();
    insert into queue.jobs (queue, kind, priority, max_attempts, args, trace_context)
    select
      jobs.on_discard ->> 'queue', jobs.on_discard ->> 'kind', (jobs.on_discard ->> 'priority')::smallint,
      (jobs.on_discard ->> 'max_attempts')::smallint,
      jsonb_build_object('job', jobs.id, 'kind', jobs.kind, 'args', jobs.args), jobs.trace_context
    from queue.jobs
    join unnest(ids, fences) as mine (id, fence) on mine.id = jobs.id
    where jobs.id = any (ids)
      and (jobs.fence = mine.fence or (fences is null and not jobs.running))
      and jobs.on_discard is not null
    for update of jobs;
  end if;

  return query
  with ended as (
    delete from queue.jobs
    using unnest(ids, fences, errors, traceparents, outputs) as mine (id, fence, error, traceparent, output)
    -- The second condition alone would do, but not as an index condition.
    where jobs.id = any (ids)
      and jobs.id = mine.id
      -- A job that does not run has no fence.
      and (jobs.fence = mine.fence or (fences is null and not jobs.running))
    returning jobs.*, mine.error, mine.traceparent, mine.output
  ),
  finished as (
    insert into queue.finished_jobs (
      id, queue, kind, priority, attempt, max_attempts, crash_count, prior_attempts, state, run_at, enqueued_at, args,
      trace_context, last_traceparent, on_discard, key, batch_id, tags, output, progress, progress_text, checkpoint,
      args_key, failure
    )
    select
      ended.id, ended.queue, ended.kind, ended.priority, ended.attempt, ended.max_attempts,
      ended.crash_count + end_jobs.crashes,
      -- A completed job is never redriven: what only a redrive asks for is left out.
      case when end_jobs.ended_as = 'completed' then 0 else ended.prior_attempts end,
      end_jobs.ended_as, ended.run_at, ended.enqueued_at, ended.args, ended.trace_context,
      case when end_jobs.ended_as = 'completed' then ended.last_traceparent
        else coalesce(ended.traceparent, ended.last_traceparent) end,
      case when end_jobs.ended_as <> 'completed' then ended.on_discard end,
      ended.key, ended.batch_id, ended.tags, ended.output, ended.progress, ended.progress_text, ended.checkpoint,
      ended.args_key,
      case when end_jobs.ended_as = 'discarded' then queue.failure_of(ended.kind, ended.error) end
    from ended
    where ended.keeps_history or end_jobs.ended_as <> 'completed'
  ),
  attempt as (
    insert into queue.attempts (job_id, attempt, fence, worker_id, started_at, outcome, error, traceparent)
    select
      ended.id, ended.attempt, ended.fence, ended.worker_id, ended.started_at, end_jobs.outcome, ended.error,
      ended.traceparent
    from ended
    where end_jobs.outcome is not null and (ended.keeps_history or end_jobs.ended_as <> 'completed')
  )
  select
    ended.id,
    ended.batch_id is not null
      or case
        when exists (select from queue.dependencies)
        then exists (select from queue.dependencies where dependencies.depends_on = ended.id)
        else false
      end
  from ended;
end $$;
