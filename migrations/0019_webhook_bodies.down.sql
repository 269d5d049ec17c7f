drop trigger transactions_bodies_are_kept on payments.transactions;
drop table payments.dropped_bodies;
alter table payments.transactions
  drop constraint transactions_body_or_its_hash,
  drop column body_sha256,
  alter column body set not null;
