select 'identity.users holds the owners of wallets: money is not left without one'
where exists (select from payments.accounts where kind = 'wallet')
