-- A value with what lies at `path` hidden. An array of objects in between is passed through: the rest of the path holds
-- for each of them. Where anything else lies in between, it is hidden itself: a field that has changed its form must not
-- become visible by that. (Nor are arrays within arrays looked into: how deep this goes is bounded by the path, not by
-- whoever wrote the value.)
create or replace function queue.redacted(value jsonb, path text[]) returns jsonb
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
