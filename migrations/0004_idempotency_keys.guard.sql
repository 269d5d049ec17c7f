select 'api.idempotency_keys holds requests that made orders: without it, one that is sent again makes another'
where exists (select from api.idempotency_keys where order_id is not null)
