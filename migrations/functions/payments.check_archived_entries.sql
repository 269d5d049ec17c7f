-- Entries leave the ledger with an archive alone: as far as their account carries a balance forward, both sides of a
-- transfer at once, and none that is younger than the archive, or than 31 days.
--
-- By index only, as in payments.check_transfers.
create or replace function payments.check_archived_entries() returns trigger language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  dated_before timestamptz := (select archives.dated_before from payments.archives order by number desc limit 1);
begin
  if exists (
    select from gone as entry
    left join payments.carried_forward as carried on carried.account_id = entry.account_id
    where (
      entry.account_version <= carried.version
      and entry.created_at < dated_before
      and entry.created_at < clock_timestamp() - interval '31 days'
    ) is not true
  ) then
    raise exception 'delete of payments.entries refused: what has happened stays'
      using errcode = 'restrict_violation', hint = 'old entries leave it with an archive: app archives create';
  end if;
  if exists (
    select from gone join payments.entries as other on other.transfer_id = gone.transfer_id
  ) then
    raise exception 'delete of payments.entries refused: both sides of a transfer go, or none'
      using errcode = 'restrict_violation';
  end if;
  return null;
end $$;
create or replace trigger entries_leave_with_an_archive after delete on payments.entries
  referencing old table as gone for each statement execute function payments.check_archived_entries();
