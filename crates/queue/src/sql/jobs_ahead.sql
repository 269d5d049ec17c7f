-- How many due jobs without a key the workers of queue $1 claim before that of priority $2, due at $3, with id $4; at
-- most $5 are counted. Priority by priority, so that jobs of the future are not read.
select count(*) as "count!"
from (
  select ahead.id
  from generate_series(1, $2::smallint) as lane (number)
  cross join lateral (
    select jobs.id
    from queue.jobs
    where jobs.queue = $1
      and jobs.priority = lane.number::smallint
      and not jobs.running
      and jobs.key is null
      and jobs.hold is null
      and jobs.run_at <= case when lane.number < $2 then statement_timestamp() else $3 end
      and (lane.number < $2 or (jobs.run_at, jobs.id) < ($3, $4))
    limit $5
  ) as ahead
  limit $5
) as counted
