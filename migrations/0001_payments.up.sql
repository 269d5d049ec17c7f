-- The money: what providers tell us (transactions), who holds it (accounts), what users want done with theirs (orders),
-- and the double-entry ledger between accounts (transfers, each with entries that sum to zero).
--
-- The triggers that hold the ledger to its rules are in functions/, each with its function.

create schema if not exists payments;

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

create type payments.account_kind as enum (
  'external',  -- a name that a provider sent, made on first sight: it stands for money outside, and may be negative
  'wallet',    -- a user's; never below zero
  'bank'       -- our own account at the bank, one per currency; what came in or went out through it
);

-- A holder of money in one currency. Its amounts are read and written under its row lock only (payments/accounts.rs).
create table payments.accounts (
  id           uuid primary key,
  kind         payments.account_kind not null default 'external',
  external_ref text collate "C",
  -- The user whose wallet it is. No reference: users are another part's business, and are never deleted.
  owner_id     uuid,
  currency     text collate "C" not null,
  balance      numeric(28, 4) not null default 0,
  -- Of the balance, what unfinished orders have spoken for: the sum of the outgoing ones, which `app verify` compares.
  -- So holds need no rows of their own.
  held         numeric(28, 4) not null default 0,
  -- What is available may not go below this; null means no floor.
  floor        numeric(28, 4),
  -- Number of entries so far: entry n of an account made version n of its balance.
  version      bigint not null default 0,
  -- How often `held` or `closed_at` was changed. With `version` it makes the version that clients see: every change of
  -- what they are shown changes it.
  hold_changes bigint not null default 0,
  -- No later entry is dated before this. An entry moves it beyond itself, and so does whoever asks for the entries until
  -- a moment (payments.close_period): what was told of a period stays true, whatever the clock does and whoever commits late.
  entries_from timestamptz not null default clock_timestamp(),
  created_at   timestamptz not null default clock_timestamp(),
  -- A closed wallet accepts no new orders; what it accepted before is still done.
  closed_at    timestamptz,
  constraint accounts_external_key unique (external_ref, currency),
  constraint accounts_available_above_floor check (balance - held >= floor),
  constraint accounts_held_is_not_negative check (held >= 0),
  constraint accounts_kind_fits check (
    (kind = 'external') = (external_ref is not null) and (kind = 'wallet') = (owner_id is not null)
  ),
  constraint accounts_wallets_have_floor check (kind <> 'wallet' or floor is not null)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

create unique index accounts_wallet_key on payments.accounts (owner_id, currency) where kind = 'wallet';
create unique index accounts_bank_key on payments.accounts (currency) where kind = 'bank';

create type payments.order_kind as enum ('deposit', 'withdrawal', 'transfer', 'refund');

-- What a user wants done: a deposit, a withdrawal, a transfer or a refund. While one that takes money out of a wallet is
-- not finished, it holds its amount there: the money is still in the balance, but no longer available.
--
-- PENDING → COMPLETED | FAILED; those that need the bank pass through PROCESSING, written before the first call to it.
create table payments.orders (
  id                     uuid primary key,
  kind                   payments.order_kind not null,
  -- The user who gave it.
  owner_id               uuid not null,
  source_account_id      uuid not null,
  destination_account_id uuid not null,
  amount                 numeric(18, 4) not null,
  currency               text collate "C" not null,
  -- The payer's own words.
  description            text,
  -- The transfer that a refund gives back.
  refund_of              uuid,
  status                 payments.transaction_status not null default 'PENDING',
  -- Why it failed, as a stable code; null unless FAILED.
  failure_reason         text,
  -- What the bank calls the payment, once it has booked it.
  bank_reference         text,
  created_at             timestamptz not null default clock_timestamp(),
  finished_at            timestamptz,
  constraint orders_amount_is_positive check (amount > 0),
  constraint orders_between_two_accounts check (source_account_id <> destination_account_id),
  constraint orders_refund_names_original check ((kind = 'refund') = (refund_of is not null)),
  constraint orders_outcome_is_dated check ((status in ('COMPLETED', 'FAILED')) = (finished_at is not null)),
  constraint orders_failure_has_reason check ((status = 'FAILED') = (failure_reason is not null))
) with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

-- A transfer is refunded once. No index here knows a column that changes, so the updates of an order are heap-only.
create unique index orders_refund_key on payments.orders (refund_of) where refund_of is not null;
-- What a user's lists read. A deposit is found by the wallet it goes to, a withdrawal by the one it leaves.
create index orders_source on payments.orders (source_account_id, id) where kind <> 'deposit';
create index orders_destination on payments.orders (destination_account_id, id) where kind <> 'withdrawal';

-- The ledger has no foreign keys. They are checked row by row, seven times for each settled transaction, and cost 90 of
-- the 140 µs that PostgreSQL then works on it; the triggers of functions/ cost 10 of 60 (PostgreSQL 15, batches of
-- 200). They check a whole statement at once, and more than a key can: that the currencies and amounts agree, too. What
-- a key guards at the other end, that nothing disappears which is referred to, follows from the rule that nothing here
-- is ever deleted.
create table payments.transfers (
  id                     uuid primary key,
  -- The provider's transaction that this transfer settles. Unique: G3 holds even against our own mistakes.
  transaction_id         bigint,
  -- The order that this transfer executes, if it executes one.
  order_id               uuid,
  source_account_id      uuid not null,
  destination_account_id uuid not null,
  amount                 numeric(18, 4) not null,
  currency               text collate "C" not null,
  created_at             timestamptz not null default clock_timestamp(),
  constraint transfers_transaction_key unique (transaction_id),
  constraint transfers_amount_is_positive check (amount > 0),
  constraint transfers_between_two_accounts check (source_account_id <> destination_account_id)
);
create unique index transfers_order_key on payments.transfers (order_id) where order_id is not null;

-- One side of a transfer: negative where money leaves, positive where it arrives. The account's version is half of
-- the key, so a lost update or a gap in an account's history cannot be written.
create table payments.entries (
  account_id      uuid not null,
  account_version bigint not null,
  transfer_id     uuid not null,
  amount          numeric(18, 4) not null,
  balance_after   numeric(28, 4) not null,
  -- Rises with the version: see accounts.entries_from.
  created_at      timestamptz not null default clock_timestamp(),
  primary key (account_id, account_version),
  -- No second pair of entries for a transfer, ever, however well it balances.
  constraint entries_side_key unique (transfer_id, account_id)
);
