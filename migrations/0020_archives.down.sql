create or replace trigger entries_are_immutable before update or delete or truncate on payments.entries
  for each statement execute function payments.refuse_change();
create or replace trigger transfers_are_immutable before update or delete or truncate on payments.transfers
  for each statement execute function payments.refuse_change();
-- As it was, so that settlement goes on until the older binary brings its own.
create or replace function payments.check_transfers() returns trigger language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  misfit uuid;
begin
  select transfer.id into misfit
  from written as transfer
  left join payments.accounts as source
    on source.id = transfer.source_account_id and source.currency = transfer.currency
  left join payments.accounts as destination
    on destination.id = transfer.destination_account_id and destination.currency = transfer.currency
  left join payments.transactions as settled
    on settled.id = transfer.transaction_id
      and settled.amount = transfer.amount
      and settled.currency = transfer.currency
  left join payments.orders as executed
    on executed.id = transfer.order_id
      and executed.source_account_id = transfer.source_account_id
      and executed.destination_account_id = transfer.destination_account_id
      and executed.amount = transfer.amount
      and executed.currency = transfer.currency
  where source.id is null
    or destination.id is null
    or (settled.id is null and transfer.transaction_id is not null)
    or (executed.id is null and transfer.order_id is not null)
  limit 1;
  if found then
    raise exception 'transfer % does not fit its accounts, or what it settles', misfit
      using errcode = 'check_violation', constraint = 'transfers_fit';
  end if;
  return null;
end $$;
drop function payments.check_archived_entries, payments.check_archived_transfers, payments.check_carried_forward,
  payments.check_nothing_left_behind, payments.check_archive_is_whole cascade;
drop view payments.transfers_of_providers;
drop table payments.carried_forward, payments.archived_transactions, payments.archives;
