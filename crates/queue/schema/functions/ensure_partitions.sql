-- Makes the daily partitions (UTC) of a partitioned table from today to `days_ahead` days from now, and says how many
-- were missing. Every worker calls it at start and every few minutes; several at once are harmless.
create or replace function queue.ensure_partitions(parent regclass, days_ahead int) returns int
language plpgsql as $$
declare
  first_day date := (now() at time zone 'utc')::date;
  made int := 0;
  partition_name text;
begin
  for i in 0 .. days_ahead loop
    partition_name := format('%s_%s', (select relname from pg_class where oid = parent), to_char(first_day + i, 'YYYYMMDD'));
    continue when to_regclass('queue.' || quote_ident(partition_name)) is not null;
    -- Only one process makes partitions at a time; the others find them made.
    perform pg_advisory_xact_lock(hashtext('queue.ensure_partitions'));
    continue when to_regclass('queue.' || quote_ident(partition_name)) is not null;
    execute format(
      'create table queue.%I partition of %s for values from (%L) to (%L)',
      partition_name, parent,
      (first_day + i)::timestamp at time zone 'utc', (first_day + i + 1)::timestamp at time zone 'utc'
    );
    made := made + 1;
  end loop;
  return made;
end $$;

-- A database has its first partitions as soon as it has its tables.
select queue.ensure_partitions(parent, 7)
from unnest(array[
  'queue.finished_jobs_completed', 'queue.finished_jobs_cancelled', 'queue.finished_jobs_discarded', 'queue.attempts'
]::regclass[]) as parent;
