-- Of each table: its dead rows, from how many on autovacuum should come, and when vacuum was last there.
with option (oid, name, value) as (
  select pg_class.oid, option_name, option_value
  from pg_class
  cross join pg_options_to_table(reloptions)
),
of_table as (
  select
    oid,
    max(value) filter (where name = 'autovacuum_vacuum_threshold') as threshold,
    max(value) filter (where name = 'autovacuum_vacuum_scale_factor') as scale_factor,
    max(value) filter (where name = 'autovacuum_enabled') as is_enabled
  from option
  group by oid
)
select
  format('%I.%I', schemaname, pg_stat_all_tables.relname) as "name!",
  n_dead_tup as "dead!",
  coalesce(threshold, current_setting('autovacuum_vacuum_threshold'))::float8
    + coalesce(scale_factor, current_setting('autovacuum_vacuum_scale_factor'))::float8
      * greatest(reltuples, 0) as "threshold!",
  coalesce(is_enabled, 'true')::boolean as "is_autovacuumed!",
  extract(epoch from now() - greatest(last_vacuum, last_autovacuum))::float8 as vacuumed_secs_ago
from pg_stat_all_tables
join pg_class on pg_class.oid = relid
left join of_table on of_table.oid = relid
where schemaname = any ($1::text[])
order by n_dead_tup desc, 1
