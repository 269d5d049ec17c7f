-- The order that an effect key is for; null for a key of nothing of ours.
create or replace function bank.order_of(effect_key text) returns uuid
language sql immutable parallel safe as $$
  select case
    when effect_key ~ '^surety-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then substr(effect_key, 8)::uuid
  end;
$$;
