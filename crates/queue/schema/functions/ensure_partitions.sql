-- Makes the daily partitions (UTC) of a partitioned table from today to `days_ahead` days from now, and says how many
-- were missing. Every worker calls it at start and every few minutes; several at once are harmless. What is in the
-- default partition and belongs into a new one is moved there.
--
-- A partition is made by itself and then attached: that lets all others go on, but for those who use the default
-- partition. So no trigger sees what is moved either.
create or replace function queue.ensure_partitions(parent regclass, days_ahead int) returns int
language plpgsql as $$
declare
  first_day date := (now() at time zone 'utc')::date;
  made int := 0;
  parent_name constant text := (select relname from pg_class where oid = parent);
  other constant text := quote_ident(parent_name || '_other');
  -- The column that the table is partitioned by.
  moment constant text := (
    select quote_ident(attname)
    from pg_partitioned_table
    join pg_attribute on attrelid = partrelid and attnum = partattrs[0]
    where partrelid = parent
  );
  partition_name text;
  bounds text[];
begin
  for i in 0 .. days_ahead loop
    partition_name := format('%s_%s', parent_name, to_char(first_day + i, 'YYYYMMDD'));
    continue when to_regclass('queue.' || quote_ident(partition_name)) is not null;
    -- Only one process makes partitions at a time; the others find them made.
    perform pg_advisory_xact_lock(hashtext('queue.ensure_partitions'));
    continue when to_regclass('queue.' || quote_ident(partition_name)) is not null;
    bounds := array[
      quote_literal((first_day + i)::timestamp at time zone 'utc'),
      quote_literal((first_day + i + 1)::timestamp at time zone 'utc')
    ];
    execute format('create table queue.%I (like %s including defaults)', partition_name, parent);
    execute format('lock table queue.%s in access exclusive mode', other);
    execute format(
      'with moved as (delete from queue.%1$s where %2$s >= %3$s and %2$s < %4$s returning *)
       insert into queue.%5$I select * from moved',
      other, moment, bounds[1], bounds[2], partition_name
    );
    execute format(
      'alter table %s attach partition queue.%I for values from (%s) to (%s)',
      parent, partition_name, bounds[1], bounds[2]
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
