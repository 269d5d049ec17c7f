//! Invariants of orders and their holds.

use crate::invariants::{Invariant, Recent, Weight};

/// The invariants of orders and wallets.
pub const INVARIANTS: &[Invariant] = &[
    COMPLETED_HAVE_ONE_TRANSFER,
    OTHERS_HAVE_NONE,
    HOLDS_ARE_UNFINISHED_ORDERS,
    REFUNDS_FIT,
    OWNERS_PAY_FROM_THEIR_WALLETS,
];

/// Protects G3: an order is executed exactly once, as it was given.
const COMPLETED_HAVE_ONE_TRANSFER: Invariant = Invariant {
    name: "completed-orders-have-one-transfer",
    claim: "every COMPLETED order has exactly one transfer, with its amount and accounts",
    protects: "G3",
    hint: "compare payments.transfers with payments.orders by order_id",
    weight: Weight::Guarantee,
    violations: "
        /*new
        with given as (
          select id from payments.orders where id >= {since_id}
          union
          select order_id from payments.transfers
          where id >= {since_id} and order_id is not null
          union
          select case
              -- What no program could have read, another check finds.
              when args ->> 'order' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                then (args ->> 'order')::uuid
            end
          from queue.finished_jobs
          where kind in ('execute_bank_order', 'execute_transfer') and finished_at >= {since}
        )
        new*/
        select format('%s %s', executed.kind, executed.id)
        from payments.orders as executed
        left join payments.transfers as transfer on transfer.order_id = executed.id
        where executed.status = 'COMPLETED'
          /*new and executed.id in (select id from given) new*/
          and (
            transfer.amount = executed.amount
            and transfer.currency = executed.currency
            and transfer.source_account_id = executed.source_account_id
            and transfer.destination_account_id = executed.destination_account_id
          ) is not true
        union all
        select format('order %s', order_id)
        from payments.transfers
        where order_id is not null
          /*new and order_id in (select id from given) new*/
        group by order_id
        having count(*) > 1",
    recent: Recent::Same,
};

/// Protects G7: a failed order moved nothing, and one that is not finished has not moved anything
/// yet.
const OTHERS_HAVE_NONE: Invariant = Invariant {
    name: "other-orders-have-no-transfer",
    claim: "no FAILED, unfinished or missing order has a transfer",
    protects: "G3, G7",
    hint: "transfer and outcome are written by one transaction: who wrote one of them alone?",
    weight: Weight::Guarantee,
    violations: "
        select format('transfer %s of order %s', transfer.id, transfer.order_id)
        from payments.transfers as transfer
        left join payments.orders as executed on executed.id = transfer.order_id
        where transfer.order_id is not null
          /*new and transfer.id >= {since_id} new*/
          and (executed.status = 'COMPLETED') is not true",
    recent: Recent::Same,
};

/// Protects G7 and users: nothing is held for an order that is finished, and nothing that an
/// unfinished one will move is available to another.
const HOLDS_ARE_UNFINISHED_ORDERS: Invariant = Invariant {
    name: "holds-are-unfinished-orders",
    claim: "every account holds exactly what its unfinished outgoing orders will move",
    protects: "G7",
    hint: "compare payments.accounts.held with payments.orders that are PENDING or PROCESSING",
    weight: Weight::Guarantee,
    violations: "
        select format('account %s holds %s, its orders %s', account.id, account.held,
          coalesce(unfinished.amount, 0))
        from payments.accounts as account
        left join (
          select source_account_id, sum(amount) as amount
          from payments.orders
          where kind <> 'deposit' and status in ('PENDING', 'PROCESSING')
          group by source_account_id
        ) as unfinished on unfinished.source_account_id = account.id
        where account.held <> coalesce(unfinished.amount, 0)",
    recent: Recent::Query(
        "
        select format('account %s holds %s, its orders %s', account.id, account.held,
          coalesce(unfinished.amount, 0))
        from payments.accounts as account
        left join lateral (
          select sum(amount) as amount
          from payments.orders
          where source_account_id = account.id
            and kind <> 'deposit'
            and status in ('PENDING', 'PROCESSING')
        ) as unfinished on true
        where account.held <> coalesce(unfinished.amount, 0)
          and (
            account.held <> 0
            or account.id in (
              select source_account_id from payments.orders
              where id >= {since_id} and kind <> 'deposit'
            )
          )",
    ),
};

/// Protects G3: what was given once is given back at most once, whole, to whom it came from.
const REFUNDS_FIT: Invariant = Invariant {
    name: "refunds-fit-their-transfers",
    claim: "every refund turns one completed transfer round, and no transfer has two",
    protects: "G3",
    hint: "compare payments.orders with itself by refund_of; was orders_refund_key dropped?",
    weight: Weight::Guarantee,
    violations: "
        select format('refund %s of %s', refund.id, refund.refund_of)
        from payments.orders as refund
        left join payments.orders as original on original.id = refund.refund_of
        where refund.kind = 'refund'
          /*new and refund.id >= {since_id} new*/
          and (
            original.kind = 'transfer'
            and original.status = 'COMPLETED'
            and original.amount = refund.amount
            and original.currency = refund.currency
            and original.source_account_id = refund.destination_account_id
            and original.destination_account_id = refund.source_account_id
          ) is not true
        union all
        select format('transfer %s', refund_of)
        from payments.orders
        where refund_of is not null
          /*new
          and refund_of in (select refund_of from payments.orders where id >= {since_id})
          new*/
        group by refund_of
        having count(*) > 1",
    recent: Recent::Same,
};

/// Protects users: money leaves a wallet only by its owner's order, and comes in from the bank only
/// to his.
const OWNERS_PAY_FROM_THEIR_WALLETS: Invariant = Invariant {
    name: "orders-move-their-owners-money",
    claim: "every order is paid from a wallet of its owner, or from the bank into one",
    protects: "G7",
    hint: "look at payments.accounts by the order's two accounts",
    weight: Weight::Guarantee,
    violations: "
        select format('%s %s', given.kind, given.id)
        from payments.orders as given
        left join payments.accounts as source on source.id = given.source_account_id
        left join payments.accounts as destination on destination.id = given.destination_account_id
        where (
          case given.kind
            when 'deposit'
              then source.kind = 'bank' and destination.owner_id = given.owner_id
            when 'withdrawal'
              then source.owner_id = given.owner_id and destination.kind = 'bank'
            else source.owner_id = given.owner_id and destination.kind = 'wallet'
          end
          and source.currency = given.currency
          and destination.currency = given.currency
        ) is not true
        /*new and given.id >= {since_id} new*/",
    recent: Recent::Same,
};
