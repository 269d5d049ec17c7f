-- The arguments of a job as they are shown to people: what every statement selects whose answer a person may read.
-- Redacted fields are "[redacted]", sealed arguments `{"sealed": true, "key": …}`. A follow-up repeats the arguments of
-- the job that it follows, so there, what is secret of that kind is hidden, too.
create or replace function queue.shown_args(kind text, args jsonb, args_key text) returns jsonb
language sql stable parallel safe as $$
  select case
    when args_key is not null then jsonb_build_object('sealed', true, 'key', queue.key_of(args, args_key))
    when jsonb_typeof(args) = 'object' and args ?& array['job', 'kind', 'args'] then
      queue.hidden(
        kind,
        args || jsonb_build_object(
          'args',
          case
            when queue.sealed_key(args -> 'args') is not null then
              jsonb_build_object('sealed', true, 'key', queue.sealed_key(args -> 'args'))
            else queue.hidden(args ->> 'kind', args -> 'args')
          end
        )
      )
    else queue.hidden(kind, args)
  end
$$;
