-- A call leaves the log a month after its order was finished, at the earliest: until then somebody may decide by it, or a
-- commit, a clock or a dispute come late. Up to when calls may be missing is remembered, whoever dropped them.
create or replace function bank.check_dropped_calls() returns trigger language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  young timestamptz := clock_timestamp() - interval '31 days';
begin
  if exists (
    select from gone as call
    left join payments.orders as given on given.id = bank.order_of(call.effect_key)
    where (greatest(call.started_at, given.finished_at) < young and given.finished_at is not null) is not true
  ) then
    raise exception 'delete of bank.calls refused: what has happened stays'
      using errcode = 'restrict_violation',
        hint = 'calls of orders that were finished long ago are dropped by the workers: --retention-bank-log-days';
  end if;
  update bank.dropped_calls
  set finished_until = greatest(
    finished_until,
    (
      select max(given.finished_at)
      from gone as call
      join payments.orders as given on given.id = bank.order_of(call.effect_key)
    )
  )
  where exists (select from gone);
  return null;
end $$;
create or replace trigger calls_leave_when_old after delete on bank.calls
  referencing old table as gone for each statement execute function bank.check_dropped_calls();
