-- The log of calls to the bank may be kept for some time only (payments/orders/bank_calls.rs). What they came to stays with
-- their order: its outcome, the bank's reference and the transfer.
create table bank.dropped_calls (
  -- Calls up to this number need not be looked at any more.
  up_to          bigint not null default 0,
  -- The latest end of an order whose calls were dropped: the log may lack those of orders that were finished until then.
  finished_until timestamptz not null default '-infinity',
  only_row       boolean primary key default true check (only_row)
);
insert into bank.dropped_calls default values;
