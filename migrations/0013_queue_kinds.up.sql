-- What is known of the kinds of jobs, and what of their arguments people may see.

-- Each worker writes here, when it starts, what it knows of its kinds. Several versions of a program run beside each
-- other during every upgrade, and the older one may start last; it must not lay open what the newer one hides. So
-- `redacted` only grows and `sealed` stays true, whoever writes; the other columns are what the last one said. To show
-- a field again that is no longer secret, take it out of `redacted` by hand.
create table queue.kinds (
  kind         text collate "C" primary key,
  -- Fields of the arguments that nobody is shown: names, or paths such as 'card.number'.
  redacted     text[] not null default '{}',
  -- Whether the arguments are encrypted by whoever enqueues such a job.
  sealed       boolean not null default false,
  -- What jobs of the kind are given unless the enqueue says otherwise.
  queue        text collate "C" not null,
  priority     smallint not null,
  max_attempts smallint not null,
  on_discard   jsonb,
  -- When a worker that knows the kind last started.
  seen_at      timestamptz not null default clock_timestamp()
);

-- A value with what lies at `path` hidden. An array of objects in between is passed through: the rest of the path holds
-- for each of them. Where anything else lies in between, it is hidden itself: a field that has changed its form must not
-- become visible by that. (Nor are arrays within arrays looked into: how deep this goes is bounded by the path, not by
-- whoever wrote the value.)
create function queue.redacted(value jsonb, path text[]) returns jsonb
language plpgsql immutable parallel safe as $$
begin
  if path = '{}' then
    return '"[redacted]"';
  end if;
  case jsonb_typeof(value)
    when 'object' then
      if not value ? path[1] then
        return value;
      end if;
      return value || jsonb_build_object(path[1], queue.redacted(value -> path[1], path[2:]));
    when 'array' then
      return coalesce(
        (select
           jsonb_agg(
             case jsonb_typeof(element) when 'array' then '"[redacted]"' else queue.redacted(element, path) end
             order by position
           )
         from jsonb_array_elements(value) with ordinality as each_one (element, position)),
        '[]'
      );
    when 'null' then
      return value;
    else
      return '"[redacted]"';
  end case;
end $$;

-- The id of the key in the form of sealed arguments; null for what has another form.
create function queue.sealed_key(args jsonb) returns text
language sql immutable parallel safe as $$
  select case
    when jsonb_typeof(args) = 'object'
      and jsonb_typeof(args -> 'sealed') = 'string'
      and jsonb_typeof(args -> 'key') = 'string'
      and args - array['sealed', 'key'] = '{}'
    then args ->> 'key'
  end
$$;

-- The id of the key without which a job cannot be run: the one that its arguments are sealed with, which args_key
-- says; or, for a follow-up, the one of the job that it follows, whose sealed arguments are within its own. Null: none.
create function queue.key_of(args jsonb, args_key text) returns text
language sql immutable parallel safe as $$
  select case
    when args_key is not null then coalesce(queue.sealed_key(args), args_key)
    when args ?& array['job', 'kind', 'args'] then queue.sealed_key(args -> 'args')
  end
$$;

-- What people are shown of arguments of this kind that are in plain. If it is a sealed kind, because they are from before
-- it was sealed, or from a statement of somebody else's, all values are hidden.
create function queue.hidden(of_kind text, args jsonb) returns jsonb
language plpgsql stable parallel safe as $$
declare
  shown jsonb := args;
  declared queue.kinds;
  path text;
begin
  select * into declared from queue.kinds where kinds.kind = of_kind;
  if declared.sealed then
    return coalesce(
      (select jsonb_object_agg(field, '[redacted]'::text)
       from jsonb_object_keys(case jsonb_typeof(args) when 'object' then args end) as fields (field)),
      '"[redacted]"'
    );
  end if;
  foreach path in array coalesce(declared.redacted, '{}') loop
    shown := queue.redacted(shown, string_to_array(path, '.'));
  end loop;
  return shown;
end $$;

-- The arguments of a job as they are shown to people: what every statement selects whose answer a person may read.
-- Redacted fields are "[redacted]", sealed arguments `{"sealed": true, "key": …}`. A follow-up repeats the arguments of
-- the job that it follows, so there, what is secret of that kind is hidden, too.
create function queue.shown_args(kind text, args jsonb, args_key text) returns jsonb
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
