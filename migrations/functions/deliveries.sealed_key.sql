-- The id of the key that a stored secret of an endpoint is sealed with; null for one in plain.
create or replace function deliveries.sealed_key(stored text) returns text
language sql immutable parallel safe as $$
  select case when starts_with(stored, '{') then queue.sealed_key(stored::jsonb) end
$$;
