drop table queue.workers;
