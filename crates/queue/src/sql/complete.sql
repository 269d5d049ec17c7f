-- Completes the jobs $1 under their fences $2, with the traceparents $3 of their attempts and their outputs $4, and
-- returns those that were still this worker's. The function goes by index whatever connection it is called on.
select id as "id!", wakes as "wakes!"
from queue.complete($1, $2, $3, $4)
