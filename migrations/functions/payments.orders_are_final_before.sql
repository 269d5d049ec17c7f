-- A moment before which no order can appear any more. Orders are listed by their ids, which tell the time of
-- created_at.
create or replace function payments.orders_are_final_before() returns timestamptz
language sql as $$
  select payments.wait_for_writers(
    'payments.orders', (select created_at from payments.orders order by id desc limit 1)
  );
$$;
