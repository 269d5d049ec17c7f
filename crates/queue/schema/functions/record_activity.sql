-- Adds the counts of a worker's batch to the rows of their time. A batch that is sent again changes nothing; batches of
-- one worker come in the order of their numbers. False when it was added before.
create or replace function queue.record_activity(worker uuid, number bigint, counts jsonb) returns boolean
language plpgsql
as $$
begin
  insert into queue.activity_writers as writer (worker_id, batch)
  values (worker, number)
  on conflict (worker_id) do update
  set batch = excluded.batch, written_at = excluded.written_at
  where writer.batch < excluded.batch;
  if not found then
    return false;
  end if;
  insert into queue.activity as old (step, at, queue, kind, outcome, jobs, wait, run)
  select new.step, to_timestamp(new.at_secs), new.queue, new.kind, new.outcome, new.jobs, new.wait, new.run
  from jsonb_to_recordset(counts) as new (
    step queue.activity_step, at_secs bigint, queue text, kind text, outcome queue.activity_outcome, jobs bigint,
    wait bigint[], run bigint[]
  )
  -- In one order, because other workers write the same rows.
  order by new.step, new.at_secs, new.queue collate "C", new.kind collate "C", new.outcome
  on conflict (step, at, queue, kind, outcome) do update
  set
    jobs = old.jobs + excluded.jobs,
    wait = queue.add_histograms(old.wait, excluded.wait),
    run = queue.add_histograms(old.run, excluded.run);
  return true;
end $$;
