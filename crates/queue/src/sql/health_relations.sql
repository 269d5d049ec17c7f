-- The indexes and the storage options of every table of ours, one row each. What it gives for a database that was just
-- migrated is kept in relations.txt (.ci/sqlx-prepare writes it), to compare others with. Daily partitions have what
-- their parent has, and are left out, as is the record of what was applied.
with relation as (
  select pg_class.oid, reloptions, format('%I.%I', nspname, relname) as name
  from pg_class
  join pg_namespace on pg_namespace.oid = relnamespace
  where relkind in ('r', 'p')
    and nspname !~ '^pg_'
    and nspname not in ('information_schema', 'public')
    and relname !~ '_[0-9]{8}$'
    and relname not in ('schema_migrations', 'schema_files')
),
item as (
  select
    relation.name as relation,
    format('index %s', index_class.relname) as item,
    pg_get_indexdef(indexrelid) || case when indisvalid and indisready then '' else ' INVALID' end as definition
  from relation
  join pg_index on indrelid = relation.oid
  join pg_class as index_class on index_class.oid = indexrelid
  union all
  select relation.name, format('option %s', option_name), option_value
  from relation
  cross join pg_options_to_table(reloptions)
)
select relation as "relation!", item as "item!", definition as "definition!"
from item
order by relation collate "C", item collate "C"
