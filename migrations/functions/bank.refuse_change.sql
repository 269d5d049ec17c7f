-- The log is evidence, so it is only ever added to; what leaves it when it is old is in bank.check_dropped_calls.sql.
create or replace function bank.refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% of bank.% refused: what has happened stays', lower(tg_op), tg_table_name
    using errcode = 'restrict_violation';
end $$;
create or replace trigger calls_are_kept before truncate or update of
    id, effect_key, operation, direction, amount, currency, started_at
  on bank.calls for each statement execute function bank.refuse_change();
create or replace trigger calls_end_once before update on bank.calls
  for each row when (old.outcome is not null) execute function bank.refuse_change();
