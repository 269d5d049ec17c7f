-- The number of jobs that may start now under a rate, and in how many seconds one more may if none can. At most `rate` jobs
-- start in any stretch of time that is as long as the period.
create or replace function queue.room_of_rate(
  limited_queue text, limited_key text, rate int, period interval, out room int, out again_in float8
)
language plpgsql
set enable_seqscan = off
as $$
declare
  slot_length constant interval := period / 20;
  used bigint;
  oldest timestamptz;
begin
  -- A slot may hold a start of its very last moment, so it counts until that is over.
  select coalesce(sum(started), 0), min(slot) into used, oldest
  from queue.starts
  where starts.queue = limited_queue
    and starts.key = limited_key
    and starts.slot > clock_timestamp() - period - slot_length;
  room := greatest(rate - used, 0);
  again_in := case when room = 0 then
    greatest(extract(epoch from oldest + period + slot_length - clock_timestamp()), 0)
  end;
end $$;
