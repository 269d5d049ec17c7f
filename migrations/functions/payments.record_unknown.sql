-- Records the transactions whose ids are not taken, and gives their numbers. A row that another open transaction is
-- inserting is waited for. In order of their ids, in which every caller has to hand them in: then two callers with ids in
-- common wait for each other, but never in a circle. Which of the others are duplicates: payments/transactions/recording.rs.
create or replace function payments.record_unknown(
  transaction_ids text[],
  source_accounts text[],
  destination_accounts text[],
  amounts numeric[],
  currencies text[],
  bodies bytea[]
) returns table (transaction_id text, id bigint)
language plpgsql
as $$
#variable_conflict use_column
begin
  return query
  insert into payments.transactions as new
    (transaction_id, source_account, destination_account, amount, currency, body)
  select *
  from unnest(transaction_ids, source_accounts, destination_accounts, amounts, currencies, bodies)
  on conflict (transaction_id) do nothing
  returning new.transaction_id, new.id;
end $$;
