-- True if a member of the batch is unfinished. `order by` makes it look at the newest first, see jobs_of_batch.
create or replace function queue.batch_is_unfinished(batch bigint) returns boolean
language plpgsql stable
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
begin
  return (select id from queue.jobs where batch_id = batch order by id desc limit 1) is not null;
end $$;
