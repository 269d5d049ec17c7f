drop table queue.workers, queue.kinds cascade;
