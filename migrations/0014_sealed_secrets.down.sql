-- The functions of before refuse every delete of an event again.
drop function deliveries.sealed_key, events.is_needed cascade;
alter table deliveries.endpoints drop column public_key;
