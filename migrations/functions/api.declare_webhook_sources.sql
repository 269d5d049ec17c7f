-- Notes that a process serves these sources, and forgets those that none has served for a month.
create or replace function api.declare_webhook_sources(told jsonb) returns void
language sql
as $$
  delete from api.webhook_sources where declared_at < clock_timestamp() - interval '30 days';
  insert into api.webhook_sources as old (name, silent_after_secs)
  select name, silent_after_secs
  from jsonb_to_recordset(told) as new (name text, silent_after_secs bigint)
  order by name
  on conflict (name) do update
  set silent_after_secs = excluded.silent_after_secs, declared_at = clock_timestamp();
$$;
