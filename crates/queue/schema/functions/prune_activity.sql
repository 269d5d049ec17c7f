-- Drops activity that is older than its step is kept for, at most `max_rows` of each table. Returns how many went.
create or replace function queue.prune_activity(max_rows bigint) returns bigint
language plpgsql
set enable_seqscan = off
as $$
declare
  moment timestamptz := clock_timestamp();
  kept record;
  gone bigint;
  total bigint := 0;
begin
  for kept in
    select * from (values
      ('minute'::queue.activity_step, interval '2 days'), ('quarter', interval '14 days'),
      ('hour', interval '60 days'), ('day', interval '731 days')
    ) as steps (step, age)
  loop
    delete from queue.activity
    where ctid = any (array(
      select ctid from queue.activity where step = kept.step and at < moment - kept.age order by at limit max_rows
    ));
    get diagnostics gone = row_count;
    total := total + gone;
    delete from queue.depths
    where ctid = any (array(
      select ctid from queue.depths where step = kept.step and at < moment - kept.age order by at limit max_rows
    ));
    get diagnostics gone = row_count;
    total := total + gone;
  end loop;
  -- Nobody sends a batch again after so long.
  delete from queue.activity_writers where written_at < moment - interval '1 day';
  return total;
end $$;
