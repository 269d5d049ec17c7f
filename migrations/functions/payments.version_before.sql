-- The number of entries of an account that are dated before a moment. Their dates rise with the account's version
-- (accounts.entries_from), so the last of them is found by halving, in as many index probes as the count has binary
-- digits. An index by time would cost every entry ever written.
create or replace function payments.version_before(account uuid, moment timestamptz) returns bigint
language plpgsql stable parallel safe set enable_seqscan = off as $$
declare
  low bigint := 0;
  high bigint;
  middle bigint;
begin
  select version into high from payments.accounts where id = account;
  while low < coalesce(high, 0) loop
    middle := (low + high + 1) / 2;
    if (select created_at from payments.entries where account_id = account and account_version = middle) < moment then
      low := middle;
    else
      high := middle - 1;
    end if;
  end loop;
  return low;
end $$;
