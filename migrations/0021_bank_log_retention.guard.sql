select 'old calls were dropped from bank.calls: a reconciliation that does not know it misses them'
where exists (select from bank.dropped_calls where finished_until > '-infinity')
