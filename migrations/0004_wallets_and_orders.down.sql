-- Wallets and orders are money: they are not dropped while there are any.
do $$ begin
  if exists (select from payments.accounts where kind <> 'external') then
    raise exception 'there are wallets: reverting would destroy what users own';
  end if;
end $$;
drop function payments.version_at;
drop index payments.transfers_order_key;
alter table payments.transfers drop column order_id;
create or replace function payments.check_transfers() returns trigger language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
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
  where source.id is null
    or destination.id is null
    or (settled.id is null and transfer.transaction_id is not null)
  limit 1;
  if found then
    raise exception 'transfer % does not fit its accounts or its transaction', misfit
      using errcode = 'check_violation', constraint = 'transfers_fit';
  end if;
  return null;
end $$;
alter function payments.check_entries() reset enable_material;
drop table payments.orders;
drop type payments.order_kind;
drop trigger accounts_are_kept on payments.accounts;
create trigger accounts_are_kept before delete or truncate or update of id, external_ref, currency, created_at
  on payments.accounts for each statement execute function payments.refuse_change();
alter table payments.accounts
  drop constraint accounts_available_above_floor,
  drop constraint accounts_held_is_not_negative,
  drop constraint accounts_kind_fits,
  drop constraint accounts_wallets_have_floor,
  drop column kind, drop column owner_id, drop column held, drop column hold_changes, drop column closed_at,
  add constraint accounts_balance_above_floor check (balance >= floor);
drop type payments.account_kind;
