-- A transfer moves one currency between accounts of that currency, settles a transaction of its own amount, and executes
-- an order that says the same. A transaction whose transfer is in an archive has no other one (G3).
--
-- Reads by index only, and never by a copy of all transfers: its plans are kept for the life of a connection, and must
-- not be made for the handful of rows that a new ledger has. One that went by a copy was seen to be kept until there
-- were thousands, with each batch slower than the one before.
create or replace function payments.check_transfers() returns trigger language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  misfit uuid;
  last_archived bigint := (
    select last from payments.archived_transactions order by first desc limit 1
  );
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
  if last_archived is not null then
    select transfer.id into misfit
    from written as transfer
    cross join lateral (
      select last from payments.archived_transactions
      where first <= transfer.transaction_id order by first desc limit 1
    ) as archived
    where transfer.transaction_id <= last_archived and transfer.transaction_id <= archived.last
    limit 1;
    if found then
      raise exception 'transfer % settles a transaction whose transfer is in an archive', misfit
        using errcode = 'unique_violation', constraint = 'transfers_transaction_key';
    end if;
  end if;
  return null;
end $$;
create or replace trigger transfers_fit after insert on payments.transfers
  referencing new table as written for each statement execute function payments.check_transfers();
