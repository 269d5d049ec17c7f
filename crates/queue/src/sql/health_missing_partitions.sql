-- Daily partitions that do not exist, of today (UTC) and the days to come. 0 is today.
select
  format('%I.%I', pg_namespace.nspname, pg_class.relname) as "parent!",
  min(day) as "first_missing!",
  count(*) as "missing!"
from pg_partitioned_table
join pg_class on pg_class.oid = partrelid
join pg_namespace on pg_namespace.oid = relnamespace
cross join generate_series(0, $1::int) as day
where nspname = 'queue'
  and partstrat = 'r'
  and to_regclass(
    format('%I.%I', nspname, relname || to_char((now() at time zone 'utc')::date + day, '_YYYYMMDD'))
  ) is null
group by nspname, relname
order by nspname, relname
