-- Arguments of this kind that are in plain, as people are shown them. If it is a sealed kind, because they are from before
-- it was sealed, or from a statement of somebody else's, all values are hidden.
create or replace function queue.hidden(of_kind text, args jsonb) returns jsonb
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
