-- The id of the key without which a job cannot be run: the one that its arguments are sealed with, which args_key
-- says; or, for a follow-up, the one of the job that it follows, whose sealed arguments are within its own. Null: none.
create or replace function queue.key_of(args jsonb, args_key text) returns text
language sql immutable parallel safe as $$
  select case
    when args_key is not null then coalesce(queue.sealed_key(args), args_key)
    when args ?& array['job', 'kind', 'args'] then queue.sealed_key(args -> 'args')
  end
$$;
