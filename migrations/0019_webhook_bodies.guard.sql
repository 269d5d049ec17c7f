select 'bodies of payments.transactions were dropped: their hashes are the evidence that is left'
where exists (select from payments.transactions where body is null)
