select 'payments.archives says which transfers were moved into files: without it, the rest of the ledger does not add up'
where exists (select from payments.archives)
