//! Queries that find the differences between the bank's statement and our books.

/// Each order that is for the bank beside each booking of its key, null where the other side has
/// none.
///
/// What is posted is the transfer's, not the order's: the ledger is what is compared. $1: when the
/// statement was asked for. $2: since when.
macro_rules! pairs {
    () => {
        "
    with line as (
      select *, row_number() over (partition by effect_key order by position) as number
      from statement_lines
    ),
    given as (
      select
        orders.id, orders.kind::text as direction, orders.status::text as status,
        orders.created_at, orders.finished_at, orders.bank_reference,
        transfers.id is not null as is_posted,
        coalesce(transfers.amount, orders.amount) as amount,
        coalesce(transfers.currency, orders.currency) as currency
      from payments.orders
      left join payments.transfers on transfers.order_id = orders.id
      where orders.kind in ('deposit', 'withdrawal')
    ),
    pair as (
      select
        given.id as order_id, given.status, given.direction as direction_here,
        given.amount as amount_here, given.currency as currency_here, given.is_posted,
        given.bank_reference as reference_here, given.created_at, given.finished_at,
        -- Posted before the statement was asked for, so that it must be in it.
        given.finished_at <= $1 as was_finished,
        coalesce(line.effect_key, 'surety-' || given.id) as effect_key,
        line.number, line.direction as direction_there, line.amount as amount_there,
        line.currency as currency_there, line.bank_reference,
        coalesce(line.booked_at, given.finished_at, given.created_at) as since
      from given
      full join line on line.order_id = given.id
      where $2::timestamptz is null
        or coalesce(line.booked_at, given.finished_at, given.created_at) >= $2
    )"
    };
}

/// Oldest first. $3: the seconds that an order may be unfinished.
pub(super) const BREAKS: &str = concat!(
    pairs!(),
    ",
    sent as (select distinct effect_key from bank.calls where operation = 'send'),
    judged as (
      select pair.*, found.kind
      from pair
      left join sent on sent.effect_key = pair.effect_key
      cross join lateral (
        select
          pair.status in ('PENDING', 'PROCESSING') as is_unfinished,
          now() - pair.created_at > make_interval(secs => $3) as is_late,
          pair.number is not null as is_booked
      ) as it
      cross join lateral (
        values
          ('unknown-key', pair.order_id is null and pair.number = 1),
          ('duplicate', pair.number > 1),
          ('missing-there', pair.status = 'COMPLETED' and pair.was_finished and not it.is_booked),
          (
            'missing-here',
            pair.number = 1 and (
              pair.status = 'FAILED'
              or (pair.status = 'COMPLETED' and not pair.is_posted)
              or (it.is_unfinished and it.is_late)
            )
          ),
          ('overdue', it.is_unfinished and it.is_late and not it.is_booked),
          ('in-flight', it.is_unfinished and not it.is_late and coalesce(pair.number = 1, true)),
          ('direction', pair.number = 1 and pair.direction_here <> pair.direction_there),
          ('currency', pair.number = 1 and pair.currency_here <> pair.currency_there),
          (
            'amount',
            pair.number = 1 and pair.currency_here = pair.currency_there
              and pair.amount_here <> pair.amount_there
          ),
          (
            'reference',
            pair.number = 1 and pair.status = 'COMPLETED'
              and pair.reference_here is distinct from pair.bank_reference
          ),
          (
            'unlogged',
            pair.number = 1 and pair.order_id is not null and sent.effect_key is null
              -- Its calls may have been kept for their time, and dropped.
              and (pair.finished_at <= (select finished_until from bank.dropped_calls)) is not true
          )
      ) as found (kind, is_so)
      where found.is_so
    )
    select
      kind, order_id, effect_key, status, direction_here, amount_here, currency_here,
      direction_there, amount_there, currency_there, bank_reference, since,
      -- The bank's clock may be ahead of ours.
      greatest(extract(epoch from now() - since), 0)::float8 as age_secs,
      (
        select format('%s %s', calls.operation, coalesce(calls.outcome::text, 'unanswered'))
        from bank.calls
        where calls.effect_key = judged.effect_key
        order by calls.id desc
        limit 1
      ) as last_call
    from judged
    order by since, effect_key, kind"
);

/// Sums of both sides. A posting that was made while the statement was read, and is not in it,
/// counts for neither.
pub(super) const TOTALS: &str = concat!(
    pairs!(),
    "
    select
      currency, direction, coalesce(sum(here), 0) as here, coalesce(sum(there), 0) as there
    from (
      select currency_here as currency, direction_here as direction, amount_here as here,
        null::numeric as there
      from pair
      where is_posted and coalesce(number = 1, was_finished)
      union all
      select currency_there, direction_there, null, amount_there
      from pair
      where number is not null
    ) as side
    group by currency, direction
    order by currency, direction"
);
