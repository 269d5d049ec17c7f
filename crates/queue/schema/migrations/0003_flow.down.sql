drop table queue.pauses, queue.limits, queue.blocked_keys, queue.starts cascade;
