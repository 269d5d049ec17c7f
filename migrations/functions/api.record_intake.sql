-- Adds the counts of a process's batch to the rows of their time, which is told as an age in seconds, so that this
-- clock alone decides. A batch that is sent again changes nothing. False when it was added before.
create or replace function api.record_intake(process uuid, number bigint, counts jsonb) returns boolean
language plpgsql
as $$
declare
  moment timestamptz := clock_timestamp();
begin
  insert into api.intake_writers as writer (process_id, batch)
  values (process, number)
  on conflict (process_id) do update
  set batch = excluded.batch, written_at = excluded.written_at
  where writer.batch < excluded.batch;
  if not found then
    return false;
  end if;
  insert into api.intake as old (step_secs, at, source, outcome, webhooks, last_at)
  select
    steps.secs,
    date_bin(make_interval(secs => steps.secs), moment - make_interval(secs => new.age_secs), timestamptz 'epoch'),
    new.source, new.outcome, sum(new.webhooks), max(moment - make_interval(secs => new.last_age_secs))
  from jsonb_to_recordset(counts) as new (
    age_secs float8, last_age_secs float8, source text, outcome api.intake_outcome, webhooks bigint
  )
  cross join unnest(array[60, 900, 3600, 86400]) as steps (secs)
  group by 1, 2, 3, 4
  -- In one order, because other processes write the same rows.
  order by 1, 2, 3, 4
  on conflict (step_secs, at, source, outcome) do update
  set webhooks = old.webhooks + excluded.webhooks, last_at = greatest(old.last_at, excluded.last_at);
  return true;
end $$;
