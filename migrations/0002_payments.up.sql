-- The money: what providers tell us (transactions), who holds it (accounts), and the double-entry ledger between them
-- (transfers, each with entries that sum to zero).

create schema payments;

create type payments.transaction_status as enum ('PENDING', 'PROCESSING', 'COMPLETED', 'FAILED');

-- One row per payment event of a provider's. Written once, then moved once from PROCESSING to its outcome.
create table payments.transactions (
  id                  bigint generated always as identity primary key,
  -- The provider's id: what makes a second delivery a duplicate (G2).
  transaction_id      text collate "C" not null,
  source_account      text collate "C" not null,
  destination_account text collate "C" not null,
  amount              numeric(18, 4) not null,
  currency            text collate "C" not null,
  status              payments.transaction_status not null default 'PROCESSING',
  -- Why it failed, as a stable code; null unless FAILED.
  failure_reason      text,
  -- The body as received, byte by byte: the evidence when a second body claims the same id.
  body                bytea not null,
  created_at          timestamptz not null default clock_timestamp(),
  processed_at        timestamptz,
  constraint transactions_transaction_id_key unique (transaction_id),
  constraint transactions_amount_is_positive check (amount > 0),
  constraint transactions_outcome_is_dated check ((status in ('COMPLETED', 'FAILED')) = (processed_at is not null)),
  constraint transactions_failure_has_reason check ((status = 'FAILED') = (failure_reason is not null))
) with (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

-- Lists are in order of id; created_at rises with it, so a range of time needs no more than a block range index.
create index transactions_created_at on payments.transactions using brin (created_at) with (pages_per_range = 32);
create index transactions_source on payments.transactions (source_account, id);
create index transactions_destination on payments.transactions (destination_account, id);
create index transactions_not_completed on payments.transactions (id) where status <> 'COMPLETED';

-- A known transaction_id with other content: refused with 409, kept with its body for an operator. One row per
-- distinct body, however often it is sent.
create table payments.transaction_conflicts (
  id             bigint generated always as identity primary key,
  transaction_id text collate "C" not null references payments.transactions (transaction_id),
  body           bytea not null,
  body_sha256    bytea not null,
  received_count bigint not null default 1,
  first_seen_at  timestamptz not null default clock_timestamp(),
  last_seen_at   timestamptz not null default clock_timestamp(),
  constraint transaction_conflicts_body_key unique (transaction_id, body_sha256)
);

-- A holder of money in one currency. An external account is a name that a provider sent, made on first sight, with no
-- floor: it stands for money outside, and may be negative.
create table payments.accounts (
  id           uuid primary key,
  external_ref text collate "C",
  currency     text collate "C" not null,
  balance      numeric(28, 4) not null default 0,
  -- The balance may not go below this; null means no floor.
  floor        numeric(28, 4),
  -- Number of entries so far: entry n of an account made version n of its balance.
  version      bigint not null default 0,
  created_at   timestamptz not null default clock_timestamp(),
  constraint accounts_external_key unique (external_ref, currency),
  constraint accounts_balance_above_floor check (balance >= floor)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

-- The ledger has no foreign keys. They are checked row by row, seven times for each settled transaction, and cost 90 of
-- the 140 µs that PostgreSQL then works on it; the triggers below cost 10 of 60 (PostgreSQL 15, batches of 200). They
-- check a whole statement at once, and more than a key can: that the currencies and amounts agree, too. What a key
-- guards at the other end, that nothing disappears which is referred to, follows from the rule that nothing here is
-- ever deleted.
create table payments.transfers (
  id                     uuid primary key,
  -- The provider's transaction that this transfer settles. Unique: G3 holds even against our own mistakes.
  transaction_id         bigint,
  source_account_id      uuid not null,
  destination_account_id uuid not null,
  amount                 numeric(18, 4) not null,
  currency               text collate "C" not null,
  created_at             timestamptz not null default clock_timestamp(),
  constraint transfers_transaction_key unique (transaction_id),
  constraint transfers_amount_is_positive check (amount > 0),
  constraint transfers_between_two_accounts check (source_account_id <> destination_account_id)
);

-- One side of a transfer: negative where money leaves, positive where it arrives. The account's version is half of
-- the key, so a lost update or a gap in an account's history cannot be written.
create table payments.entries (
  account_id      uuid not null,
  account_version bigint not null,
  transfer_id     uuid not null,
  amount          numeric(18, 4) not null,
  balance_after   numeric(28, 4) not null,
  created_at      timestamptz not null default clock_timestamp(),
  primary key (account_id, account_version),
  -- No second pair of entries for a transfer, ever, however well it balances.
  constraint entries_side_key unique (transfer_id, account_id)
);

-- G7: the past is never rewritten, not even by hand. Statement triggers with a list of columns cost nothing where
-- these columns are not written.
create function payments.refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% of payments.% refused: what has happened stays', lower(tg_op), tg_table_name
    using errcode = 'restrict_violation';
end $$;
create trigger entries_are_immutable before update or delete or truncate on payments.entries
  for each statement execute function payments.refuse_change();
create trigger transfers_are_immutable before update or delete or truncate on payments.transfers
  for each statement execute function payments.refuse_change();
create trigger accounts_are_kept before delete or truncate or update of id, external_ref, currency, created_at
  on payments.accounts for each statement execute function payments.refuse_change();
create trigger transactions_are_kept before delete or truncate or update of
    id, transaction_id, source_account, destination_account, amount, currency, body, created_at
  on payments.transactions for each statement execute function payments.refuse_change();

-- A transfer moves one currency between accounts of that currency, and settles a transaction of its own amount.
--
-- Both functions read by index only: their plans are kept for the life of a connection, and must not be made for the
-- handful of rows that a new ledger has.
create function payments.check_transfers() returns trigger language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  misfit uuid;
begin
  select transfer.id into misfit
  from written as transfer
  left join payments.accounts as source
    on source.id = transfer.source_account_id and source.currency = transfer.currency
  left join payments.accounts as destination
    on destination.id = transfer.destination_account_id and destination.currency = transfer.currency
  left join payments.transactions as settled
    on settled.id = transfer.transaction_id
      and settled.amount = transfer.amount
      and settled.currency = transfer.currency
  where source.id is null
    or destination.id is null
    or (settled.id is null and transfer.transaction_id is not null)
  limit 1;
  if found then
    raise exception 'transfer % does not fit its accounts or its transaction', misfit
      using errcode = 'check_violation', constraint = 'transfers_fit';
  end if;
  return null;
end $$;
create trigger transfers_fit after insert on payments.transfers
  referencing new table as written for each statement execute function payments.check_transfers();

-- G7: the entries of a transfer are its two sides, written by one statement, and sum to zero.
create function payments.check_entries() returns trigger language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  unbalanced uuid;
begin
  select entry.transfer_id into unbalanced
  from written as entry
  left join payments.transfers as transfer on transfer.id = entry.transfer_id
  group by entry.transfer_id
  having count(*) <> 2
    or sum(entry.amount) <> 0
    or not bool_and(
      case entry.account_id
        when transfer.source_account_id then entry.amount = -transfer.amount
        when transfer.destination_account_id then entry.amount = transfer.amount
        else false
      end
    )
  limit 1;
  if found then
    raise exception 'the entries of transfer % are not its two sides', unbalanced
      using errcode = 'check_violation', constraint = 'entries_are_the_two_sides';
  end if;
  return null;
end $$;
create trigger entries_are_the_two_sides after insert on payments.entries
  referencing new table as written for each statement execute function payments.check_entries();
