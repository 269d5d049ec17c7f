select 'audit.entries says who did what to the money and to its jobs: evidence is not dropped'
where exists (select from audit.entries)
