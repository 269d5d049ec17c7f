-- The bank: what we said to it and what it answered (calls), and whether it is asked at all at the moment (breakers).

create schema if not exists bank;

create type bank.call_operation as enum ('send', 'enquire');
create type bank.direction as enum ('deposit', 'withdrawal');
create type bank.call_outcome as enum (
  -- Its word, and final.
  'booked', 'declined',
  -- Its word for now: it has not decided, or knows of no such payment.
  'pending', 'unknown_key',
  -- No word that could be relied on. Only 'unavailable' means that it cannot have acted.
  'unavailable', 'timed_out', 'malformed'
);

-- One row per call, written before the call is made, together with the state change that it is made for; what came of
-- it is added once. A row without an outcome is a call that is under way, or whose process died: either way the bank
-- may have acted on it.
create table bank.calls (
  id                bigint generated always as identity primary key,
  -- Under which the bank acts at most once: the same in all calls for one order (G6).
  effect_key        text collate "C" not null,
  operation         bank.call_operation not null,
  -- As the user sees it: a deposit comes from the bank to us.
  direction         bank.direction not null,
  amount            numeric(18, 4) not null,
  currency          text collate "C" not null,
  started_at        timestamptz not null default clock_timestamp(),
  ended_at          timestamptz,
  outcome           bank.call_outcome,
  -- Why it was declined, unavailable or malformed, as a stable code.
  reason            text collate "C",
  bank_reference    text collate "C",
  -- What the bank says that it moved, whether it is what we asked for or not.
  answered_amount   numeric(18, 4),
  answered_currency text collate "C",
  constraint calls_amount_is_positive check (amount > 0),
  constraint calls_outcome_is_dated check ((outcome is null) = (ended_at is null)),
  constraint calls_booking_has_reference check (outcome <> 'booked' or bank_reference is not null),
  constraint calls_answer_is_money check ((answered_amount is null) = (answered_currency is null))
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

create index calls_effect on bank.calls (effect_key, id);
-- What a reconciliation reads by time; started_at rises with the id.
create index calls_started_at on bank.calls using brin (started_at) with (pages_per_range = 32);
create index calls_without_outcome on bank.calls (id) where outcome is null;

-- One circuit breaker per name, shared by all workers. No row means closed and without failures.
create table bank.breakers (
  name             text collate "C" primary key,
  -- In a row, while closed; as many as opened it, while open.
  failures         integer not null default 0,
  -- Since when it is not closed, however often a probe has failed since; null while closed.
  opened_at        timestamptz,
  -- Until then nobody calls; from then on one call at a time probes. Null while closed.
  open_until       timestamptz,
  -- Number of the last probe: the result of an older one no longer counts.
  probe            bigint not null default 0,
  -- While in the future, that probe is under way; when it passes, the prober is taken for dead.
  probe_expires_at timestamptz,
  constraint breakers_failures_are_counted check (failures >= 0),
  constraint breakers_open_is_dated check ((opened_at is null) = (open_until is null)),
  constraint breakers_probe_while_open check (probe_expires_at is null or open_until is not null)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
