-- Of the transactions that an archive has settled, none has a transfer in the ledger by the commit.
create or replace function payments.check_archive_is_whole() returns trigger language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
begin
  if exists (
    select from payments.archived_transactions as archived
    join payments.transfers as transfer
      on transfer.transaction_id >= archived.first and transfer.transaction_id <= archived.last
    where archived.archive = new.number
  ) then
    raise exception 'transfers of archive % are in the ledger', new.number
      using errcode = 'check_violation', constraint = 'archives_are_not_in_the_ledger';
  end if;
  return null;
end $$;
drop trigger if exists archives_are_not_in_the_ledger on payments.archives;
create constraint trigger archives_are_not_in_the_ledger after insert on payments.archives
  deferrable initially deferred for each row execute function payments.check_archive_is_whole();
