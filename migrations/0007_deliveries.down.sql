drop schema deliveries cascade;
delete from queue.limits where queue = 'webhooks_ordered';
