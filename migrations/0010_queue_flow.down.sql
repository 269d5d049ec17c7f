drop trigger unblock_key on queue.finished_jobs_cancelled;
drop trigger unblock_key on queue.resolutions;
drop trigger block_key on queue.finished_jobs_discarded;
drop function
  queue.unblock_key_of_cancelled, queue.unblock_key_of_resolved, queue.block_key_of_discarded, queue.claim_by_key, queue.room_of_key,
  queue.pick_head, queue.pick_of_key, queue.pick_without_key, queue.count_starts, queue.room_of_rate;
drop table queue.starts, queue.blocked_keys;
drop index queue.jobs_running_by_key;
