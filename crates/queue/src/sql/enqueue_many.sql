-- Enqueues many jobs, see queue.enqueue_many.
select queue.enqueue_many($1, $2, $3, $4, $5, $6, $7, $8) as "ids!"
