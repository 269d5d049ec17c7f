-- Makes the kinds $1 known: an array of objects with the names of these columns. What was redacted or sealed before
-- stays so, whoever said it (see the table). In the order of their names, as several workers that start at once
-- write the same rows.
insert into queue.kinds (kind, queue, priority, max_attempts, sealed, redacted, on_discard)
select kind, queue, priority, max_attempts, sealed, redacted, nullif(on_discard, 'null')
from jsonb_to_recordset($1) as declared (
  kind text, queue text, priority smallint, max_attempts smallint, sealed boolean, redacted text[], on_discard jsonb
)
order by kind
on conflict (kind) do update
set
  queue = excluded.queue,
  priority = excluded.priority,
  max_attempts = excluded.max_attempts,
  sealed = kinds.sealed or excluded.sealed,
  redacted = array(select unnest(kinds.redacted) union select unnest(excluded.redacted) order by 1),
  on_discard = excluded.on_discard,
  seen_at = excluded.seen_at
