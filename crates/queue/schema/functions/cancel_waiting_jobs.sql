-- Cancels those of these jobs that wait and that nobody else has locked, because `requested_by` says so for the reason
-- `reason`. Returns them.
--
-- Those that run are left to queue.cancel, in transactions of their own: whoever locks several of them could wait in a
-- circle with a worker that completes the same jobs together.
create or replace function queue.cancel_waiting_jobs(ids bigint[], requested_by text, reason text)
returns table (id bigint)
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
    where jobs.id = any (ids) and not jobs.running
    order by jobs.id
    for update skip locked
  );
  insert into queue.interventions (job_id, action, made_by, reason)
  select job.id, 'cancel', cancel_waiting_jobs.requested_by, cancel_waiting_jobs.reason
  from unnest(waiting) as job (id);
  return query select ended.id from queue.end_jobs(waiting, null, 'cancelled', null) as ended;
end $$;
