-- Fixes the past of an account: from now on no entry is dated before the end of the period, and every entry before it
-- is visible to the statements that come after this one. Waits for whoever is writing an entry. Returns the end, which
-- is now when `ends_at` is null; null when `ends_at` is in the future or there is no such account.
--
-- What is read after this may be told once the transaction is committed, and not before.
create or replace function payments.close_period(account uuid, ends_at timestamptz) returns timestamptz
language plpgsql as $$
declare
  closed_until timestamptz;
begin
  if ends_at is null then
    -- The clock is read once the row is locked. After it was set back, the last entry is later than it.
    update payments.accounts set entries_from = greatest(entries_from, clock_timestamp())
    where id = account
    returning entries_from into closed_until;
    return closed_until;
  end if;
  select entries_from into closed_until from payments.accounts where id = account;
  if ends_at > greatest(closed_until, clock_timestamp()) then
    return null;
  end if;
  if ends_at > closed_until then
    update payments.accounts set entries_from = greatest(entries_from, ends_at) where id = account;
  end if;
  return case when closed_until is not null then ends_at end;
end $$;
