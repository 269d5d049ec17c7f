-- Old transfers between accounts of providers can be moved into files (payments/archives). What stays of them: which
-- transactions they settled, the hash of their file, and what each account carries forward from them.

create table payments.archives (
  -- From 1, without gaps.
  number       integer primary key,
  -- All that is in it is dated before this.
  dated_before timestamptz not null,
  transfers    bigint not null,
  file_name    text collate "C" not null,
  file_sha256  bytea not null,
  made_at      timestamptz not null default clock_timestamp(),
  constraint archives_are_numbered check (number > 0),
  constraint archives_hold_transfers check (transfers > 0),
  constraint archives_have_a_hash check (length(file_sha256) = 32),
  -- A month in which a commit, a clock or a dispute may come late.
  constraint archives_are_of_what_is_old check (dated_before <= made_at - interval '31 days')
);

-- The numbers of the transactions that their transfers settled, as ranges: a number is in the last one that begins at or
-- before it, or in none.
create table payments.archived_transactions (
  first   bigint primary key,
  last    bigint not null,
  archive integer not null references payments.archives (number),
  constraint archived_transactions_are_ranges check (first <= last),
  constraint archived_transactions_are_in_one_archive exclude using gist (int8range(first, last, '[]') with &&)
);
create index archived_transactions_archive on payments.archived_transactions (archive);

-- The entries of an account up to this version are in archives, and left it this balance.
create table payments.carried_forward (
  account_id uuid primary key,
  version    bigint not null,
  balance    numeric(28, 4) not null,
  -- The newest archive that has entries of it.
  archive    integer not null references payments.archives (number),
  constraint carried_forward_counts_entries check (version > 0)
) with (fillfactor = 70);

-- The transfers that archives may hold, however old: those between accounts of providers, which no order made.
create view payments.transfers_of_providers as
select
  transfer.id, transfer.transaction_id, transfer.amount, transfer.currency, transfer.created_at,
  transfer.source_account_id, source.external_ref as source_name,
  transfer.destination_account_id, destination.external_ref as destination_name
from payments.transfers as transfer
join payments.accounts as source on source.id = transfer.source_account_id and source.kind = 'external'
join payments.accounts as destination
  on destination.id = transfer.destination_account_id and destination.kind = 'external'
where transfer.order_id is null;
