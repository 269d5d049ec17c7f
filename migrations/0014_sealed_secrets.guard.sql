select 'deliveries.secrets holds sealed secrets, which the release before cannot read'
where exists (select from deliveries.secrets where starts_with(secret, '{'))
