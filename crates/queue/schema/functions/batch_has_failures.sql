-- True if a member of the batch has failed for good: was discarded or cancelled, and not redriven since.
create or replace function queue.batch_has_failures(batch bigint) returns boolean
language plpgsql stable
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
begin
  return exists (select from queue.finished_jobs where batch_id = batch and state in ('cancelled', 'discarded'));
end $$;
