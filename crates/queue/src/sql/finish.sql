-- Ends job $1 under fence $2 for good without completing it: $3 is the state it is kept in, $4 how its last attempt
-- ended, $5 the error, $6 the attempt's traceparent, $7 whether a discard enqueues the job's follow-up. Null when the
-- job belongs to another worker by now. The function goes by index whatever connection it is called on.
select queue.finish($1, $2, $3, $4, $5, $6, $7)
