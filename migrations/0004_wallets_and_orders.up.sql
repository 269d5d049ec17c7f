-- Users' money: wallets, which are accounts of the ledger, and orders, which are what users want done with them.
--
-- An order is a deposit, a withdrawal, a transfer or a refund. While one that takes money out of a wallet is not
-- finished, it holds its amount there: the money is still in the balance, but no longer available. What a wallet holds
-- is therefore the sum of its unfinished outgoing orders, and needs no rows of its own; `app verify` compares the two.

create type payments.account_kind as enum (
  'external',  -- a name that a provider sent; no floor
  'wallet',    -- a user's; never below zero
  'bank'       -- our own account at the bank, one per currency; what came in or went out through it
);

-- The amounts of these columns are read and written under the account's row lock only (payments/accounts.rs).
alter table payments.accounts
  add column kind payments.account_kind not null default 'external',
  -- The user whose wallet it is. No reference: users are another part's business, and are never deleted.
  add column owner_id uuid,
  -- Of the balance, what unfinished orders have spoken for.
  add column held numeric(28, 4) not null default 0,
  -- How often `held` or `closed_at` was changed. With `version` it makes the version that clients see: every change of
  -- what they are shown changes it.
  add column hold_changes bigint not null default 0,
  -- A closed wallet accepts no new orders; what it accepted before is still done.
  add column closed_at timestamptz,
  drop constraint accounts_balance_above_floor,
  add constraint accounts_available_above_floor check (balance - held >= floor),
  add constraint accounts_held_is_not_negative check (held >= 0),
  add constraint accounts_kind_fits check (
    (kind = 'external') = (external_ref is not null) and (kind = 'wallet') = (owner_id is not null)
  ),
  add constraint accounts_wallets_have_floor check (kind <> 'wallet' or floor is not null);

create unique index accounts_wallet_key on payments.accounts (owner_id, currency) where kind = 'wallet';
create unique index accounts_bank_key on payments.accounts (currency) where kind = 'bank';

drop trigger accounts_are_kept on payments.accounts;
create trigger accounts_are_kept before delete or truncate or update of
    id, external_ref, currency, created_at, kind, owner_id
  on payments.accounts for each statement execute function payments.refuse_change();

create type payments.order_kind as enum ('deposit', 'withdrawal', 'transfer', 'refund');

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

create trigger orders_are_kept before delete or truncate or update of
    id, kind, owner_id, source_account_id, destination_account_id, amount, currency, refund_of, created_at
  on payments.orders for each statement execute function payments.refuse_change();

-- The order that a transfer executes, if it executes one.
alter table payments.transfers add column order_id uuid;
create unique index transfers_order_key on payments.transfers (order_id) where order_id is not null;

-- As before, and a transfer that executes an order moves what the order says. Nor may either function go by a copy of
-- all transfers: that, too, is the cheapest way while there are a handful, and was seen to be kept until there were
-- thousands, with each batch slower than the one before.
create or replace function payments.check_transfers() returns trigger language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off as $$
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
  left join payments.orders as executed
    on executed.id = transfer.order_id
      and executed.source_account_id = transfer.source_account_id
      and executed.destination_account_id = transfer.destination_account_id
      and executed.amount = transfer.amount
      and executed.currency = transfer.currency
  where source.id is null
    or destination.id is null
    or (settled.id is null and transfer.transaction_id is not null)
    or (executed.id is null and transfer.order_id is not null)
  limit 1;
  if found then
    raise exception 'transfer % does not fit its accounts, or what it settles', misfit
      using errcode = 'check_violation', constraint = 'transfers_fit';
  end if;
  return null;
end $$;

alter function payments.check_entries() set enable_material = off;

-- The entries of an account are written under its lock, so their times rise with its version: the last version not
-- later than a moment is found by halving, in as many index probes as the count has binary digits. An index by time
-- would cost every entry ever written. Zero when the account had no entry then.
create function payments.version_at(account uuid, moment timestamptz) returns bigint
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
