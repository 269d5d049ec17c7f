-- Moves a waiting job to the history as cancelled; true if there was one. No attempt was made, so none is recorded.
create or replace function queue.cancel_waiting(job bigint) returns boolean
language plpgsql
as $$
begin
  perform from queue.end_jobs(array[job], null, 'cancelled', null);
  return found;
end $$;
