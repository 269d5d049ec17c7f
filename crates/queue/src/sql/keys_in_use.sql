-- How many jobs are sealed with which key, in which part of their life; those in plain of sealed kinds under null. A job
-- that repeats sealed arguments of another one counts with the key of these, and a job that a batch enqueues when it ends
-- waits until then.
with job as (
  select queue.key_of(args, args_key) as key, kind, case when running then 'running' else 'waiting' end as part
  from queue.jobs
  union all
  select queue.key_of(args, args_key), kind, case state when 'discarded' then 'discarded' else 'history' end
  from queue.finished_jobs
  union all
  select callback.job ->> 'args_key', callback.job ->> 'kind', 'waiting'
  from queue.batches
  cross join lateral (values (on_done), (on_completed), (on_failed)) as callback (job)
  where done_at is null and callback.job is not null
)
select
  key as "key?",
  count(*) filter (where part = 'waiting') as "waiting!",
  count(*) filter (where part = 'running') as "running!",
  count(*) filter (where part = 'discarded') as "discarded!",
  count(*) filter (where part = 'history') as "history!"
from job
where key is not null
  or kind in (select kinds.kind from queue.kinds where kinds.sealed)
group by key
order by key
