select 'bank.calls holds what was said to the bank about payments: evidence of money is not dropped'
where exists (select from bank.calls)
