-- The last $3 steps of the kind $1, each $2 seconds long, with what is stored of them: of the queue $4, the kind $5, or
-- of any where they are null. The row of all queues and kinds is that of the name ''.
select
  step.at as "at!",
  activity.outcome as "outcome?: Outcome",
  activity.jobs as "jobs?",
  activity.wait as "wait?",
  activity.run as "run?"
from (
  select
    date_bin(make_interval(secs => $2), statement_timestamp(), timestamptz 'epoch')
      - n * make_interval(secs => $2) as at
  from generate_series(0, $3::int - 1) as n
) as step
left join queue.activity
  on activity.step = $1
    and activity.at = step.at
    and case when $4::text is null then activity.queue <> '' else activity.queue = $4 end
    and case when $5::text is null then activity.kind <> '' else activity.kind = $5 end
order by step.at
