-- Takes a free one of the $2 seats of a kind until the transaction ends, if there is one. Nobody waits here: a statement that
-- waits has a snapshot, which keeps vacuum from its work.
with seats as materialized (
  select hashtextextended(format('queue.seat %s %s', $1::text, seat), 0) as lock
  from generate_series(1, $2::int) as seat
)
select exists (select from seats where pg_try_advisory_xact_lock(lock)) as "taken!"
