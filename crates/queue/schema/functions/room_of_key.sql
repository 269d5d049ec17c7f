-- The number of jobs of a key that may be claimed now, by the rules of its queue.
create or replace function queue.room_of_key(rules queue.limits, asked_key text, kinds text[], max_jobs int) returns int
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
  room int := max_jobs;
  head record;
begin
  if rules.ordered then
    -- Only the head, the oldest job that has not ended, and only if it waits for nothing but a worker.
    select jobs.running, jobs.hold, jobs.run_at, jobs.kind into head
    from queue.jobs
    where jobs.queue = rules.queue and jobs.key = asked_key
    order by jobs.id
    limit 1;
    if not found or head.running or head.hold is not null or head.run_at > clock_timestamp()
      or head.kind <> all (kinds)
      or exists (select from queue.blocked_keys as b where b.queue = rules.queue and b.key = asked_key)
    then
      return 0;
    end if;
    room := 1;
  end if;
  if rules.max_running_per_key is not null then
    room := least(room, rules.max_running_per_key - (
      select count(*)
      from queue.jobs
      where jobs.queue = rules.queue and jobs.key = asked_key and jobs.running and jobs.key is not null
    ));
  end if;
  if room > 0 and rules.rate_per_key is not null then
    room := least(room, (queue.room_of_rate(rules.queue, asked_key, rules.rate_per_key, rules.rate_period)).room);
  end if;
  return greatest(room, 0);
end $$;
