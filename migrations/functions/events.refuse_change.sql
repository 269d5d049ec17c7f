-- What the world was told stays as it was told. Once everybody has heard of it, and it is thirty days old, retention may
-- drop it; nothing else and nobody else may.
create or replace function events.refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% of events.% refused: what was told stays', lower(tg_op), tg_table_name
    using errcode = 'restrict_violation';
end $$;
create or replace trigger events_are_immutable before update or truncate on events.events
  for each statement execute function events.refuse_change();
create or replace trigger events_stay before delete on events.events
  for each row when (old.occurred_at > now() - interval '30 days' or events.is_needed(old.seq, old.xid))
  execute function events.refuse_change();
