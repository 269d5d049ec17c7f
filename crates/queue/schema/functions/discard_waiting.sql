-- Moves the waiting jobs among `ids` to the history as discarded, because `made_by` says so for the reason `reason`, and
-- enqueues their follow-ups. No attempt was made, so none is recorded: the intervention tells why. Returns those that
-- were discarded, and whether others wait for that.
--
-- A job that was redriven and has not run since is passed over: it could not be redriven from there, as each attempt can
-- be decided over once.
create or replace function queue.discard_waiting(ids bigint[], made_by text, reason text)
returns table (id bigint, wakes boolean)
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
  waiting bigint[];
begin
  waiting := array(
    select jobs.id
    from queue.jobs
    where jobs.id = any (ids)
      and not jobs.running
      and not exists (
        select from queue.resolutions as resolved
        where resolved.job_id = jobs.id and resolved.attempt = jobs.attempt
      )
    order by jobs.id
    for update
  );
  insert into queue.interventions (job_id, action, made_by, reason, detail)
  select jobs.id, 'discard', discard_waiting.made_by, discard_waiting.reason, jsonb_build_object('attempt', jobs.attempt)
  from queue.jobs
  where jobs.id = any (waiting);
  delete from queue.dependencies where dependencies.job_id = any (waiting);
  return query
  select ended.id, ended.wakes
  from queue.end_jobs(
    waiting, null, 'discarded', null, follow_up => true,
    errors => array_fill(
      format('discarded by %s: %s', discard_waiting.made_by, discard_waiting.reason), array[cardinality(waiting)]
    )
  ) as ended;
end $$;
