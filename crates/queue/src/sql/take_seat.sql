-- Takes one of the $2 seats of a kind until the transaction ends: one that is free, or else whichever of them by turns, once
-- its holder leaves it. Takes no transaction id, so that nobody waits for those who wait.
with
  seats as materialized (
    select hashtextextended(format('queue.seat %s %s', $1::text, seat), 0) as lock
    from generate_series(1, $2::int) as seat
    order by random()
  ),
  free as materialized (select from seats where pg_try_advisory_xact_lock(lock) limit 1)
select pg_advisory_xact_lock(lock) is null as "taken!" from seats where not exists (select from free) limit 1
