-- Whoever decides over a discarded job, by redrive or dismissal, lets its key go on.
create or replace function queue.unblock_key_of_resolved() returns trigger
language plpgsql
as $$
begin
  delete from queue.blocked_keys where job_id = new.job_id;
  return null;
end $$;
create or replace trigger unblock_key after insert on queue.resolutions
  for each row
  execute function queue.unblock_key_of_resolved();
