-- Records that `jobs_started` jobs start now, and forgets slots that no longer count.
create or replace function queue.count_starts(limited_queue text, limited_key text, jobs_started int, period interval)
returns void
language plpgsql
set enable_seqscan = off
as $$
declare
  slot_length constant interval := period / 20;
begin
  insert into queue.starts (queue, key, slot, started)
  values (limited_queue, limited_key, date_bin(slot_length, clock_timestamp(), 'epoch'), jobs_started)
  on conflict (queue, key, slot) do update set started = starts.started + excluded.started;
  delete from queue.starts
  where starts.queue = limited_queue
    and starts.key = limited_key
    and starts.slot <= clock_timestamp() - period - slot_length;
end $$;
