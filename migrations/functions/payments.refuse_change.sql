-- G7: the past is never rewritten, not even by hand. Statement triggers with a list of columns cost nothing where
-- these columns are not written.
create or replace function payments.refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% of payments.% refused: what has happened stays', lower(tg_op), tg_table_name
    using errcode = 'restrict_violation';
end $$;
create or replace trigger entries_are_immutable before update or truncate on payments.entries
  for each statement execute function payments.refuse_change();
create or replace trigger transfers_are_immutable before update or truncate on payments.transfers
  for each statement execute function payments.refuse_change();
-- What may be deleted of them: payments.check_archived_entries, payments.check_archived_transfers.
create or replace trigger archives_are_kept before update or delete or truncate on payments.archives
  for each statement execute function payments.refuse_change();
create or replace trigger archived_transactions_are_kept before update or delete or truncate
  on payments.archived_transactions for each statement execute function payments.refuse_change();
create or replace trigger carried_forward_is_kept before delete or truncate or update of account_id
  on payments.carried_forward for each statement execute function payments.refuse_change();
create or replace trigger carried_forward_goes_forward before update on payments.carried_forward for each row
  when (new.version <= old.version or new.archive <= old.archive) execute function payments.refuse_change();
create or replace trigger accounts_are_kept before delete or truncate or update of
    id, external_ref, currency, created_at, kind, owner_id
  on payments.accounts for each statement execute function payments.refuse_change();
create or replace trigger transactions_are_kept before delete or truncate or update of
    id, transaction_id, source_account, destination_account, amount, currency, created_at
  on payments.transactions for each statement execute function payments.refuse_change();
-- A body may be dropped once it is thirty days old and the outcome is final; its hash takes its place.
create or replace trigger transactions_bodies_are_kept before update of body, body_sha256 on payments.transactions
  for each row
  when (
    new.body is distinct from old.body
    and (
      new.body is not null
      or new.body_sha256 is distinct from sha256(old.body)
      or old.status not in ('COMPLETED', 'FAILED')
      or old.created_at > now() - interval '30 days'
    )
    or new.body is not distinct from old.body and new.body_sha256 is distinct from old.body_sha256
  )
  execute function payments.refuse_change();
create or replace trigger orders_are_kept before delete or truncate or update of
    id, kind, owner_id, source_account_id, destination_account_id, amount, currency, refund_of, created_at
  on payments.orders for each statement execute function payments.refuse_change();
-- FAILED and COMPLETED are what people act on: who was told that nothing was paid pays another way.
create or replace trigger transactions_outcome_is_final before update of status on payments.transactions for each row
  when (old.status in ('COMPLETED', 'FAILED') and new.status <> old.status) execute function payments.refuse_change();
create or replace trigger orders_outcome_is_final before update of status on payments.orders for each row
  when (old.status in ('COMPLETED', 'FAILED') and new.status <> old.status) execute function payments.refuse_change();
