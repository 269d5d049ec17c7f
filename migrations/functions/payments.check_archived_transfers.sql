-- Transfers leave the ledger after their entries, with the archive that says which transactions they settled.
create or replace function payments.check_archived_transfers() returns trigger language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  newest integer := (select max(number) from payments.archives);
begin
  if exists (
    select from gone as transfer
    left join lateral (
      select last, archive from payments.archived_transactions
      where first <= transfer.transaction_id order by first desc limit 1
    ) as archived on true
    where newest is null
      or transfer.order_id is not null
      or (
        transfer.transaction_id is not null
        and (transfer.transaction_id <= archived.last and archived.archive = newest) is not true
      )
  ) or exists (
    select from gone join payments.entries as side on side.transfer_id = gone.id
  ) then
    raise exception 'delete of payments.transfers refused: what has happened stays'
      using errcode = 'restrict_violation', hint = 'old transfers leave it with an archive: app archives create';
  end if;
  return null;
end $$;
create or replace trigger transfers_leave_with_an_archive after delete on payments.transfers
  referencing old table as gone for each statement execute function payments.check_archived_transfers();
