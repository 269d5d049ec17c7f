-- A job of an ordered queue that is discarded stops those of its key behind it, unless the queue's rule is to skip it.
-- A trigger, because jobs are discarded in several ways, and none may forget this; it costs nothing where nothing is
-- discarded.
create or replace function queue.block_key_of_discarded() returns trigger
language plpgsql
as $$
begin
  insert into queue.blocked_keys (queue, key, job_id, cause)
  select limits.queue, new.key, new.id, 'discarded'
  from queue.limits
  where limits.queue = new.queue and limits.ordered and limits.on_poison <> 'skip_after'
    -- Retention moves what was discarded long ago: it must not block anew what somebody has unblocked since.
    and new.finished_at >= now()
  on conflict (queue, key) do update set job_id = excluded.job_id, cause = excluded.cause;
  return null;
end $$;
create or replace trigger block_key after insert on queue.finished_jobs_discarded
  for each row when (new.key is not null)
  execute function queue.block_key_of_discarded();
