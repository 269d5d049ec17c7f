-- G7: the entries of a transfer are its two sides, written by one statement, and sum to zero.
--
-- By index only, as in payments.check_transfers.
create or replace function payments.check_entries() returns trigger language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
declare
  unbalanced uuid;
begin
  select entry.transfer_id into unbalanced
  from written as entry
  left join payments.transfers as transfer on transfer.id = entry.transfer_id
  group by entry.transfer_id
  having count(*) <> 2
    or sum(entry.amount) <> 0
    or not bool_and(
      case entry.account_id
        when transfer.source_account_id then entry.amount = -transfer.amount
        when transfer.destination_account_id then entry.amount = transfer.amount
        else false
      end
    )
  limit 1;
  if found then
    raise exception 'the entries of transfer % are not its two sides', unbalanced
      using errcode = 'check_violation', constraint = 'entries_are_the_two_sides';
  end if;
  return null;
end $$;
create or replace trigger entries_are_the_two_sides after insert on payments.entries
  referencing new table as written for each statement execute function payments.check_entries();
