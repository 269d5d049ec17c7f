drop table queue.schedule_ticks;
drop table queue.schedules;
drop type queue.missed_policy;
