-- An account of a provider carries forward the balance that one of its entries left it, with the newest archive.
create or replace function payments.check_carried_forward() returns trigger language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
begin
  if exists (
    select from written as carried
    left join payments.accounts as account on account.id = carried.account_id and account.kind = 'external'
    left join payments.entries as entry
      on entry.account_id = carried.account_id
        and entry.account_version = carried.version
        and entry.balance_after = carried.balance
    where account.id is null
      or entry.account_id is null
      or carried.archive <> (select max(number) from payments.archives)
  ) then
    raise exception 'what an account carries forward is the balance after one of its entries'
      using errcode = 'check_violation', constraint = 'carried_forward_is_a_balance';
  end if;
  return null;
end $$;
create or replace trigger carried_forward_begins_with_an_entry after insert on payments.carried_forward
  referencing new table as written for each statement execute function payments.check_carried_forward();
create or replace trigger carried_forward_goes_on_with_an_entry after update on payments.carried_forward
  referencing new table as written for each statement execute function payments.check_carried_forward();
