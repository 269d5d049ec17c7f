drop table queue.activity, queue.activity_writers, queue.depths cascade;
drop type queue.activity_step, queue.activity_outcome cascade;
