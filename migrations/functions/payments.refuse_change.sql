-- G7: the past is never rewritten, not even by hand. Statement triggers with a list of columns cost nothing where
-- these columns are not written.
create or replace function payments.refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% of payments.% refused: what has happened stays', lower(tg_op), tg_table_name
    using errcode = 'restrict_violation';
end $$;
create or replace trigger entries_are_immutable before update or delete or truncate on payments.entries
  for each statement execute function payments.refuse_change();
create or replace trigger transfers_are_immutable before update or delete or truncate on payments.transfers
  for each statement execute function payments.refuse_change();
create or replace trigger accounts_are_kept before delete or truncate or update of
    id, external_ref, currency, created_at, kind, owner_id
  on payments.accounts for each statement execute function payments.refuse_change();
create or replace trigger transactions_are_kept before delete or truncate or update of
    id, transaction_id, source_account, destination_account, amount, currency, body, created_at
  on payments.transactions for each statement execute function payments.refuse_change();
create or replace trigger orders_are_kept before delete or truncate or update of
    id, kind, owner_id, source_account_id, destination_account_id, amount, currency, refund_of, created_at
  on payments.orders for each statement execute function payments.refuse_change();
-- FAILED and COMPLETED are what people act on: who was told that nothing was paid pays another way.
create or replace trigger transactions_outcome_is_final before update of status on payments.transactions for each row
  when (old.status in ('COMPLETED', 'FAILED') and new.status <> old.status) execute function payments.refuse_change();
create or replace trigger orders_outcome_is_final before update of status on payments.orders for each row
  when (old.status in ('COMPLETED', 'FAILED') and new.status <> old.status) execute function payments.refuse_change();
