-- The bodies of webhooks are evidence, and the most of what is kept for good. Whoever needs them for some years only has
-- them dropped (payments/transactions/bodies.rs); the hash stays, and proves a body that somebody else has kept.
alter table payments.transactions
  alter column body drop not null,
  add column body_sha256 bytea,
  -- Not validated, which would read all of them: before this, every transaction had a body and no hash.
  add constraint transactions_body_or_its_hash check ((body is null) <> (body_sha256 is null)) not valid;

-- Bodies of transactions up to this number need not be looked at any more.
create table payments.dropped_bodies (
  up_to    bigint not null,
  only_row boolean primary key default true check (only_row)
);
insert into payments.dropped_bodies (up_to) values (0);
