-- Writes an entry about a transaction, for programs that speak SQL; gives its number. `audit::log_transaction` is the
-- same in Rust.
create or replace function audit.log_transaction(transaction_id text, data jsonb) returns bigint language sql as $$
  insert into audit.entries (actor, action, subject_kind, subject_id, data)
  values (left('db:' || session_user, 200), 'transaction.logged', 'transaction', transaction_id, data::text)
  returning seq
$$;
