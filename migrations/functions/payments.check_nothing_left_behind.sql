-- Of an account that carries a balance forward, the entries that it is the sum of are gone by the commit.
create or replace function payments.check_nothing_left_behind() returns trigger language plpgsql
set enable_seqscan = off as $$
begin
  if exists (
    select from payments.entries as entry
    where entry.account_id = new.account_id and entry.account_version <= new.version
  ) then
    raise exception 'entries of account % are in the ledger, and carried forward', new.account_id
      using errcode = 'check_violation', constraint = 'carried_forward_is_not_in_the_ledger';
  end if;
  return null;
end $$;
drop trigger if exists carried_forward_is_not_in_the_ledger on payments.carried_forward;
create constraint trigger carried_forward_is_not_in_the_ledger after insert or update on payments.carried_forward
  deferrable initially deferred for each row execute function payments.check_nothing_left_behind();
