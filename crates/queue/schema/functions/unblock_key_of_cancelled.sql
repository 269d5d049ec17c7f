-- Whoever cancels a parked job lets its key go on.
create or replace function queue.unblock_key_of_cancelled() returns trigger
language plpgsql
as $$
begin
  delete from queue.blocked_keys where job_id = new.id;
  return null;
end $$;
create or replace trigger unblock_key after insert on queue.finished_jobs_cancelled
  for each row when (new.key is not null)
  execute function queue.unblock_key_of_cancelled();
