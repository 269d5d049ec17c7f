drop table queue.batches, queue.dependencies cascade; drop domain queue.stored_job;
