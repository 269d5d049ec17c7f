-- What the world was told stays as it was told.
create or replace function events.refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% of events.% refused: what was told stays', lower(tg_op), tg_table_name
    using errcode = 'restrict_violation';
end $$;
create or replace trigger events_are_immutable before update or delete or truncate on events.events
  for each statement execute function events.refuse_change();
