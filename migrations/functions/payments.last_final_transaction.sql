-- An id up to which no transaction can appear any more, nor one that is dated before those. A list that ends with it can
-- be gone on with from its newest id and from its newest date, and nothing is missed.
--
-- A row gets its id just before its date, so of rows that are written at the same time, the later one by id may be the
-- earlier one by date. Rows that are dated after the moment may have ids below others that are dated before it: then
-- the list ends where all that follows is later in both orders.
create or replace function payments.last_final_transaction() returns bigint
language plpgsql as $$
declare
  moment timestamptz := payments.wait_for_writers('payments.transactions', (
    select max(created_at)
    from (select created_at from payments.transactions order by id desc limit 200) as recent
  ));
  last bigint := (select id from payments.transactions where created_at < moment order by id desc limit 1);
begin
  return (
    with recent as materialized (
      select id, created_at from payments.transactions where id <= last order by id desc limit 200
    ),
    ends as (
      select
        id, max(created_at) over (order by id) as latest,
        min(created_at) over (order by id desc rows between unbounded preceding and 1 preceding) as earliest_after
      from recent
    )
    select case
      when bool_and(created_at < moment) then last
      else coalesce(
        (select max(id) from ends where latest < moment and latest <= earliest_after), min(id) - 1
      )
    end
    from recent
  );
end $$;
