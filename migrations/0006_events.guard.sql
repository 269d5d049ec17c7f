select 'events.events holds what the world was told of money: evidence is not dropped'
where exists (select from events.events)
