drop table queue.schedules, queue.schedule_ticks; drop type queue.missed_policy;
