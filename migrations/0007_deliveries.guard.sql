select 'deliveries.endpoints holds what others have asked to be told, and the secrets that they know us by'
where exists (select from deliveries.endpoints)
