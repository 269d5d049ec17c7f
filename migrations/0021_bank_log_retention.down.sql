create or replace trigger calls_are_kept before delete or truncate or update of
    id, effect_key, operation, direction, amount, currency, started_at
  on bank.calls for each statement execute function bank.refuse_change();
drop function bank.check_dropped_calls cascade;
drop function bank.order_of;
drop table bank.dropped_calls;
