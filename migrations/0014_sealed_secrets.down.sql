drop function deliveries.sealed_key cascade;
alter table deliveries.endpoints drop column public_key;
