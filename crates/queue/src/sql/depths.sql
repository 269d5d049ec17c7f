-- The last $3 steps of the kind $1, each $2 seconds long, with what waited in the queue $4; in all of them, where it is ''.
select
  step.at as "at!",
  coalesce(depths.waiting, 0) as "waiting!",
  depths.oldest_secs
from (
  select
    date_bin(make_interval(secs => $2), statement_timestamp(), timestamptz 'epoch')
      - n * make_interval(secs => $2) as at
  from generate_series(0, $3::int - 1) as n
) as step
left join queue.depths on depths.step = $1 and depths.at = step.at and depths.queue = $4
order by step.at
