select 'operations.bulk_operations holds operations that are not finished: wait for them or cancel them'
where exists (select from operations.bulk_operations where finished_at is null)
union all
select 'payments.transaction_conflicts holds decisions over conflicts: they would be lost'
where exists (select from payments.transaction_conflicts where resolution is not null)
