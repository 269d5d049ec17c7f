-- Takes back up to `max_jobs` jobs whose lease has run out: their worker is lost. Each runs again at once, unless it has
-- now taken `max_crashes` workers down: then it is poison, and is discarded, and its follow-up enqueued, if it has one. A
-- job that was to be cancelled is cancelled instead. Returns the jobs that were taken back.
--
-- `skip locked`: a completion in progress wins, and several rescuers at once share the work.
create or replace function queue.rescue(max_jobs bigint, max_crashes int) returns table (id bigint, poison boolean)
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
  lost record;
begin
  for lost in
    with expired as materialized (
      select
        jobs.id, jobs.fence,
        format('worker %s was lost: its lease ran out at %s', jobs.worker_id, jobs.lease_expires_at) as error,
        -- Null: it runs again.
        case
          when jobs.cancel_reason is not null then 'cancelled'::queue.finished_state
          when jobs.crash_count + 1 >= max_crashes then 'discarded'
        end as ended_as
      from queue.jobs
      where jobs.running and jobs.lease_expires_at < clock_timestamp()
      order by jobs.id
      limit max_jobs
      for update skip locked
    )
    select
      expired.ended_as, array_agg(expired.id) as ids, array_agg(expired.fence) as fences,
      array_agg(expired.error) as errors
    from expired
    group by expired.ended_as
  loop
    if lost.ended_as is null then
      insert into queue.attempts (job_id, attempt, fence, worker_id, started_at, outcome, error)
      select jobs.id, jobs.attempt, jobs.fence, jobs.worker_id, jobs.started_at, 'crashed', expired.error
      from queue.jobs
      join unnest(lost.ids, lost.errors) as expired (id, error) on expired.id = jobs.id
      where jobs.id = any (lost.ids);
      update queue.jobs
      set
        running = false,
        crash_count = jobs.crash_count + 1,
        fence = null,
        worker_id = null,
        started_at = null,
        lease_expires_at = null,
        -- Its time has come long ago: it must not wait behind all that has become due since, or what is promised of
        -- lost workers would not hold while there is a backlog.
        priority = 1,
        run_at = clock_timestamp(),
        failure = queue.failure_of(jobs.kind, expired.error),
        failed_at = clock_timestamp()
      from unnest(lost.ids, lost.errors) as expired (id, error)
      where jobs.id = any (lost.ids) and jobs.id = expired.id;
    else
      perform from queue.end_jobs(
        lost.ids, lost.fences, lost.ended_as, 'crashed', lost.errors, crashes => 1, follow_up => true
      );
    end if;
    return query
    select expired.id, lost.ended_as is not distinct from 'discarded'
    from unnest(lost.ids) as expired (id);
  end loop;
end $$;
