-- An error without what differs between failures of one cause: addresses, quoted texts and every word with a digit in it
-- (numbers, times, UUIDs and other ids) are an ellipsis. Whoever changes this gives every failure to come another
-- fingerprint than those before it.
--
-- Of a long error the beginning, which says most: what is to be normalised is cut later than what is kept, so that the
-- length of an id does not decide where it ends.
create or replace function queue.failure_text(error text) returns text
language sql immutable parallel safe
as $$
  select left(
    btrim(regexp_replace(
      regexp_replace(
        left(coalesce(error, 'no error was kept'), 2000),
        '[[:alpha:]][[:alnum:]+.-]*://[^[:space:]"''<>)]+'
          || '|[^[:space:]<>"''(:]+@[^[:space:]<>"''):,]+'
          || '|"[^"]*"|`[^`]*`|“[^”]*”|(?<![[:alnum:]])''[^'']*''(?![[:alnum:]])'
          || '|[[:alnum:]_-]*[0-9][[:alnum:]_-]*([.:,/+][[:alnum:]_-]*[0-9][[:alnum:]_-]*)*',
        '…', 'g'
      ),
      '[[:space:]]+', ' ', 'g'
    )),
    300
  )
$$;
