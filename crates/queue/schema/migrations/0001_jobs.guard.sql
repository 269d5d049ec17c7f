select 'queue.jobs holds unfinished jobs: let them end, or cancel them'
where exists (select from queue.jobs)
