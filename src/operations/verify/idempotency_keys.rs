//! Invariants of the answers kept for idempotency keys and the orders that they are about.

use super::{Invariant, Recent, Weight};

/// The invariants of kept answers.
pub(super) const INVARIANTS: &[Invariant] = &[ANSWERS_NAME_THEIR_ORDER, ORDERS_HAVE_ONE_KEY];

/// Protects G1 and G3: a client that was answered 202 has an order of its own, and gets the same
/// answer again.
const ANSWERS_NAME_THEIR_ORDER: Invariant = Invariant {
    name: "kept-answers-name-their-order",
    claim: "every kept 202 names an existing order of whoever was answered, no other answer does",
    protects: "G1, G3",
    hint: "order and answer are written by one transaction: who wrote one of them alone?",
    weight: Weight::Guarantee,
    violations: "
        select format('key %s of %s', kept.key, kept.caller)
        from api.idempotency_keys as kept
        left join payments.orders as given on given.id = kept.order_id
        left join identity.api_keys as machine on kept.caller = 'key:' || machine.id
        where case kept.status
          when 202 then (
            kept.caller in ('user:' || given.owner_id, 'key:' || machine.id)
            and given.owner_id = coalesce(machine.user_id, given.owner_id)
            and convert_from(kept.body, 'utf8')::jsonb ->> 'id' = given.id::text
          ) is not true
          else kept.order_id is not null
        end",
    recent: Recent::Same,
};

/// Protects G3: one request, one order.
const ORDERS_HAVE_ONE_KEY: Invariant = Invariant {
    name: "orders-have-one-key",
    claim: "no order is the answer to two keys",
    protects: "G3",
    hint: "look at api.idempotency_keys by order_id",
    weight: Weight::Guarantee,
    violations: "
        select format('order %s', order_id)
        from api.idempotency_keys
        where order_id is not null
        group by order_id
        having count(*) > 1",
    recent: Recent::Same,
};
