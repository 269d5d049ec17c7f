-- Takes back up to $1 jobs whose lease has run out; one that has now taken $2 workers down is discarded. See
-- queue.rescue.
select id as "id!", poison as "poison!"
from queue.rescue($1, $2)
