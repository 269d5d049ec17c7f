//! Invariants of the ledger.
//!
//! Much of it is enforced when it is written, by constraints and triggers. It is checked all the
//! same: constraints can be dropped, triggers disabled and backups restored in part, and proof is
//! worth more than trust.

use crate::invariants::{Invariant, Recent, Weight};

/// The invariants of the ledger.
pub const INVARIANTS: &[Invariant] = &[
    COMPLETED_HAVE_ONE_TRANSFER,
    OTHERS_HAVE_NONE,
    TRANSFERS_HAVE_TWO_SIDES,
    TRANSFERS_FIT_ACCOUNTS,
    BALANCES_ARE_SUMS,
    VERSIONS_COUNT_ENTRIES,
    BALANCES_CHAIN,
    CURRENCIES_SUM_TO_ZERO,
    FLOORS_HOLD,
    ARCHIVES_ADD_UP,
];

/// Protects G3, that a payment is applied exactly once: not never (an outcome without a transfer),
/// not twice, and not as another payment.
const COMPLETED_HAVE_ONE_TRANSFER: Invariant = Invariant {
    name: "completed-transactions-have-one-transfer",
    claim: "every COMPLETED transaction has exactly one transfer, with its amount and accounts, or \
            is in an archive",
    protects: "G3",
    hint: "compare payments.transfers with payments.transactions by transaction_id",
    weight: Weight::Guarantee,
    violations: "
        /*new
        with settled as (
          select id from payments.transactions where created_at >= {since}
          union
          select transaction_id from payments.transfers
          where id >= {since_id} and transaction_id is not null
          union
          select (args -> 'transaction')::bigint from queue.finished_jobs
          where kind = 'settle_transaction' and finished_at >= {since}
        )
        new*/
        select format('transaction %s (%s)', transaction.id, transaction.transaction_id)
        from payments.transactions as transaction
        left join payments.transfers as transfer on transfer.transaction_id = transaction.id
        left join payments.accounts as source on source.id = transfer.source_account_id
        left join payments.accounts as destination
          on destination.id = transfer.destination_account_id
        where transaction.status = 'COMPLETED'
          /*new and transaction.id in (select id from settled) new*/
          and (
            transfer.amount = transaction.amount
            and transfer.currency = transaction.currency
            and source.external_ref = transaction.source_account
            and destination.external_ref = transaction.destination_account
          ) is not true
          and not (
            transfer.id is null
            and transaction.id <= coalesce(
              (select last from payments.archived_transactions
               where first <= transaction.id order by first desc limit 1),
              0
            )
          )
        union all
        select format('transaction %s', transaction_id)
        from payments.transfers
        where transaction_id is not null
          /*new
          and transaction_id in (
            select transaction_id from payments.transfers where id >= {since_id}
          )
          new*/
        group by transaction_id
        having count(*) > 1
        union all
        select format('transaction %s, which is in archive %s', transaction_id, archived.archive)
        from payments.archived_transactions as archived
        join payments.transfers as transfer
          on transfer.transaction_id >= archived.first
            and transfer.transaction_id <= archived.last
            /*new and transfer.id >= {since_id} new*/",
    recent: Recent::Same,
};

/// Protects G7, that an outcome other than success changes no ledger row, and G3: money that moved
/// for a transaction that does not say so would move again.
const OTHERS_HAVE_NONE: Invariant = Invariant {
    name: "other-transactions-have-no-transfer",
    claim: "no FAILED, PROCESSING or missing transaction has a transfer",
    protects: "G3, G7",
    hint: "transfer and outcome are written by one transaction: who wrote one of them alone?",
    weight: Weight::Guarantee,
    violations: "
        select format('transfer %s of transaction %s', transfer.id, transfer.transaction_id)
        from payments.transfers as transfer
        left join payments.transactions as transaction on transaction.id = transfer.transaction_id
        where transfer.transaction_id is not null
          /*new and transfer.id >= {since_id} new*/
          and (transaction.status = 'COMPLETED') is not true",
    recent: Recent::Same,
};

/// Protects G7, that no transfer makes or destroys money.
const TRANSFERS_HAVE_TWO_SIDES: Invariant = Invariant {
    name: "entries-sum-to-zero",
    claim: "every transfer has two entries, one per side, that sum to zero",
    protects: "G7",
    hint: "look at payments.entries by transfer_id; were triggers disabled?",
    weight: Weight::Guarantee,
    violations: "
        select format('transfer %s', coalesce(transfer.id, entry.transfer_id))
        from (
          select * from payments.transfers /*new where id >= {since_id} new*/
        ) as transfer
        full join (
          select * from payments.entries /*new where transfer_id >= {since_id} new*/
        ) as entry on entry.transfer_id = transfer.id
        group by coalesce(transfer.id, entry.transfer_id)
        having count(*) <> 2
          or sum(entry.amount) is distinct from 0
          or bool_and(
            case entry.account_id
              when transfer.source_account_id then entry.amount = -transfer.amount
              when transfer.destination_account_id then entry.amount = transfer.amount
              else false
            end
          ) is not true",
    recent: Recent::Same,
};

/// Protects G7: sums mean nothing across currencies.
const TRANSFERS_FIT_ACCOUNTS: Invariant = Invariant {
    name: "transfers-keep-to-one-currency",
    claim: "every transfer is between two accounts of its own currency",
    protects: "G7",
    hint: "look at payments.accounts by the transfer's two account ids",
    weight: Weight::Guarantee,
    violations: "
        select format('transfer %s', transfer.id)
        from payments.transfers as transfer
        left join payments.accounts as source
          on source.id = transfer.source_account_id and source.currency = transfer.currency
        left join payments.accounts as destination
          on destination.id = transfer.destination_account_id
            and destination.currency = transfer.currency
        where (source.id is null or destination.id is null or source.id = destination.id)
          /*new and transfer.id >= {since_id} new*/",
    recent: Recent::Same,
};

/// Protects G7, that a balance is what its history says: no lost update, no edit by hand.
const BALANCES_ARE_SUMS: Invariant = Invariant {
    name: "balances-are-sums-of-entries",
    claim: "every balance is what its account has carried forward and the sum of its entries",
    protects: "G7",
    hint: "the entries are the truth: compare them with the balance in payments.accounts",
    weight: Weight::Guarantee,
    violations: "
        select format('account %s', coalesce(account.id, history.account_id))
        from payments.accounts as account
        full join (
          select account_id, sum(amount) as total from payments.entries group by account_id
        ) as history on history.account_id = account.id
        left join payments.carried_forward as carried
          on carried.account_id = coalesce(account.id, history.account_id)
        where account.balance
          is distinct from coalesce(carried.balance, 0) + coalesce(history.total, 0)",
    recent: Recent::Query(
        "
        select format('account %s', account.id)
        from payments.accounts as account
        left join lateral (
          select balance_after
          from payments.entries
          where account_id = account.id
          order by account_version desc
          limit 1
        ) as last_one on true
        left join payments.carried_forward as carried on carried.account_id = account.id
        where account.balance
          is distinct from coalesce(last_one.balance_after, carried.balance, 0)",
    ),
};

/// Protects G7: an entry that was deleted or never written leaves a gap.
const VERSIONS_COUNT_ENTRIES: Invariant = Invariant {
    name: "versions-count-entries",
    claim: "the entries of every account are numbered from 1, or from what it has carried forward, \
            to its version without a gap",
    protects: "G7",
    hint: "look at payments.entries by account_id, in order of account_version",
    weight: Weight::Guarantee,
    violations: "
        select format('account %s', coalesce(account.id, history.account_id))
        from payments.accounts as account
        full join (
          select
            account_id,
            count(*) as entries,
            min(account_version) as first,
            max(account_version) as last
          from payments.entries
          group by account_id
        ) as history on history.account_id = account.id
        left join payments.carried_forward as carried
          on carried.account_id = coalesce(account.id, history.account_id)
        where account.version
            is distinct from coalesce(carried.version, 0) + coalesce(history.entries, 0)
          or history.first <> coalesce(carried.version, 0) + 1
          or history.last <> coalesce(carried.version, 0) + history.entries",
    recent: Recent::Query(
        "
        select format('account %s', account.id)
        from payments.accounts as account
        join (
          select account_id, min(account_version) as first
          from payments.entries
          where transfer_id >= {since_id}
          group by account_id
        ) as since on since.account_id = account.id
        cross join lateral (
          select count(*) as entries, max(account_version) as last
          from payments.entries
          where account_id = account.id and account_version >= since.first
        ) as history
        where history.last <> account.version
          or history.entries <> account.version - since.first + 1",
    ),
};

/// Protects G7: the balance that each entry shows to its owner is the one before it and its amount.
const BALANCES_CHAIN: Invariant = Invariant {
    name: "balances-after-form-a-chain",
    claim: "every entry's balance_after is the one before it plus its amount",
    protects: "G7",
    hint: "look at payments.entries by account_id, in order of account_version",
    weight: Weight::Guarantee,
    violations: "
        select format('entry %s of account %s', account_version, account_id)
        from (
          select
            entry.account_id, entry.account_version, entry.amount, entry.balance_after,
            /*new since.first, new*/
            coalesce(lag(entry.balance_after) over history, carried.balance, 0) as balance_before
          from payments.entries as entry
          left join payments.carried_forward as carried
            on carried.account_id = entry.account_id
              and carried.version = entry.account_version - 1
          /*new
          join (
            select account_id, min(account_version) as first
            from payments.entries
            where transfer_id >= {since_id}
            group by account_id
          ) as since
            on entry.account_id = since.account_id and entry.account_version >= since.first - 1
          new*/
          window history as (partition by entry.account_id order by entry.account_version)
        ) as entry
        where balance_after <> balance_before + amount
          /*new and account_version >= first new*/",
    recent: Recent::Same,
};

/// Protects G7, that money is conserved.
const CURRENCIES_SUM_TO_ZERO: Invariant = Invariant {
    name: "currencies-sum-to-zero",
    claim: "the balances of all accounts of a currency sum to zero",
    protects: "G7",
    hint: "another invariant of the ledger is broken as well: start there",
    weight: Weight::Guarantee,
    violations: "
        select format('%s %s', sum(balance), currency)
        from payments.accounts
        group by currency
        having sum(balance) <> 0",
    recent: Recent::Same,
};

/// Protects G7, that nobody spends what he has not.
const FLOORS_HOLD: Invariant = Invariant {
    name: "balances-respect-floors",
    claim: "what is available, the balance less holds, is not below any account's floor",
    protects: "G7",
    hint: "was the constraint accounts_available_above_floor dropped?",
    weight: Weight::Guarantee,
    violations: "
        select format('account %s', id) from payments.accounts where balance - held < floor",
    recent: Recent::Same,
};

/// Protects G7 and G3: what is in archives adds up, and no transaction of theirs is without its
/// outcome.
const ARCHIVES_ADD_UP: Invariant = Invariant {
    name: "archives-add-up",
    claim: "what accounts have carried forward sums to zero by currency, and all that archives \
            have settled is there, and COMPLETED",
    protects: "G3, G7",
    hint: "prove the files: app archives verify",
    weight: Weight::Guarantee,
    violations: "
        select format('%s %s carried forward', sum(carried.balance), account.currency)
        from payments.carried_forward as carried
        left join payments.accounts as account on account.id = carried.account_id
        group by account.currency
        having sum(carried.balance) <> 0
        union all
        select format('archive %s', archive.number)
        from payments.archives as archive
        left join lateral (
          select sum(last - first + 1) as numbers from payments.archived_transactions
          where archived_transactions.archive = archive.number
        ) as settled on true
        where settled.numbers > archive.transfers
          /*new and archive.made_at >= {since} new*/
        union all
        select format('transactions %s to %s of archive %s', first, last, archived.archive)
        from payments.archived_transactions as archived
        where last - first + 1 <> (
          select count(*) from payments.transactions
          where id >= archived.first and id <= archived.last and status = 'COMPLETED'
        )
          /*new
          and archived.archive in (
            select number from payments.archives where made_at >= {since}
          )
          new*/",
    recent: Recent::Same,
};
