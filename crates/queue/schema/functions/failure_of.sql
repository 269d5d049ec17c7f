-- The fingerprint of a failure: the same for all jobs of a kind whose errors say the same (failure_text.sql).
create or replace function queue.failure_of(kind text, error text) returns bigint
language sql immutable parallel safe
as $$
  select (
    'x' || encode(substring(sha256(convert_to(kind || e'\n' || queue.failure_text(error), 'UTF8')) for 8), 'hex')
  )::bit(64)::bigint
$$;
