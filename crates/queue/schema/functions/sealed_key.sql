-- The id of the key in the form of sealed arguments; null for what has another form.
create or replace function queue.sealed_key(args jsonb) returns text
language sql immutable parallel safe as $$
  select case
    when jsonb_typeof(args) = 'object'
      and jsonb_typeof(args -> 'sealed') = 'string'
      and jsonb_typeof(args -> 'key') = 'string'
      and args - array['sealed', 'key'] = '{}'
    then args ->> 'key'
  end
$$;
