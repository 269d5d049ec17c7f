-- The entries of an account are written under its lock, so their times rise with its version: the last version not
-- later than a moment is found by halving, in as many index probes as the count has binary digits. An index by time
-- would cost every entry ever written. Zero when the account had no entry then.
create or replace function payments.version_at(account uuid, moment timestamptz) returns bigint
language plpgsql stable parallel safe set enable_seqscan = off as $$
declare
  low bigint := 0;
  high bigint;
  middle bigint;
begin
  select version into high from payments.accounts where id = account;
  while low < coalesce(high, 0) loop
    middle := (low + high + 1) / 2;
    if (select created_at from payments.entries where account_id = account and account_version = middle) <= moment then
      low := middle;
    else
      high := middle - 1;
    end if;
  end loop;
  return low;
end $$;
