select format('payments.%I holds %s: money is not dropped', held.table_name, held.content)
from (
  values
    ('accounts', 'wallets', exists (select from payments.accounts where kind <> 'external')),
    ('transactions', 'transactions', exists (select from payments.transactions)),
    ('orders', 'orders', exists (select from payments.orders)),
    ('entries', 'ledger entries', exists (select from payments.entries))
) as held (table_name, content, is_there)
where held.is_there
