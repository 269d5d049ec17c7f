-- How many workers there are in which state; of the lost ones, those that were seen within the last hour.
select
  count(*) filter (where last_seen_at >= clock_timestamp() - lease and draining_at is null) as "working!",
  count(*) filter (where last_seen_at >= clock_timestamp() - lease and draining_at is not null) as "draining!",
  count(*) filter (
    where last_seen_at < clock_timestamp() - lease and last_seen_at > clock_timestamp() - interval '1 hour'
  ) as "lost!",
  coalesce(
    string_agg(distinct version, ', ') filter (where last_seen_at >= clock_timestamp() - lease),
    ''
  ) as "versions!"
from queue.workers
