-- The first 16 of the 32 digits of the ids of orders that are given at a moment: UUIDs of version 7 (RFC 9562, method 3),
-- whose first twelve digits are the milliseconds, and whose three after the version the fraction of one. So orders stand
-- in the order of their moments, by the one clock that all processes share.
create or replace function payments.order_id_prefix(moment timestamptz) returns text
language sql immutable parallel safe as $$
  select lpad(to_hex(micros / 1000), 12, '0') || '7' || lpad(to_hex(micros % 1000 * 4096 / 1000), 3, '0')
  from (select (extract(epoch from moment) * 1000000)::bigint) as since_1970 (micros);
$$;
