select 'queue.dependencies says which jobs wait for which: let them end, or cancel them'
where exists (select from queue.dependencies)
union all
select 'queue.batches holds batches that are not done: let their members end, or cancel them'
where exists (select from queue.batches where done_at is null)
