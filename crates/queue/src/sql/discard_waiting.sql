-- Discards the waiting jobs among $1, because $2 says so for the reason $3. Returns those that were discarded, and
-- whether others wait for that; see queue.discard_waiting.
select id as "id!", wakes as "wakes!"
from queue.discard_waiting($1, $2, $3)
