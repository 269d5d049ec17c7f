drop view queue.all_jobs;
drop index queue.finished_jobs_discarded_failures;
alter table queue.finished_jobs drop column failure;
drop index queue.jobs_failed;
alter table queue.jobs drop column failure, drop column failed_at;
