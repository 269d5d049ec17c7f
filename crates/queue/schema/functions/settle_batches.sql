-- Marks batches as failed, done and completed as their members have ended, and enqueues the callbacks in the same
-- transaction: so each is enqueued exactly once. Gives how many were.
--
-- Whoever adds a member has the row locked for key share until that is committed. To be done, a batch needs the
-- strongest lock, which waits for nobody: if somebody is adding, then there will be one more end to resolve, or, should
-- it be rolled back, the sweep. The other two changes get along with members being added.
create or replace function queue.settle_batches(ids bigint[]) returns int
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  enqueued int := 0;
  batch queue.batches;
begin
  -- One after another in the order of their ids, as every statement that locks several rows. Each statement has a
  -- snapshot of its own.
  for batch in select * from queue.batches where id = any (ids) order by id loop
    if batch.done_at is null and not queue.batch_is_unfinished(batch.id) then
      perform from queue.batches where id = batch.id for update skip locked;
      if found then
        -- Asked again now that nobody can add one.
        update queue.batches
        set done_at = clock_timestamp()
        where id = batch.id and done_at is null and not queue.batch_is_unfinished(id);
        if found and batch.on_done is not null then
          perform queue.enqueue_stored(batch.on_done);
          enqueued := enqueued + 1;
        end if;
      end if;
    end if;

    -- After the above: the members of a batch that is done have all been looked at.
    if batch.failed_at is null and queue.batch_has_failures(batch.id) then
      update queue.batches set failed_at = clock_timestamp() where id = batch.id and failed_at is null;
      if found and batch.on_failed is not null then
        perform queue.enqueue_stored(batch.on_failed);
        enqueued := enqueued + 1;
      end if;
    end if;

    update queue.batches
    set completed_at = clock_timestamp()
    where id = batch.id
      and done_at is not null
      and completed_at is null
      and not queue.batch_is_unfinished(id)
      and not queue.batch_has_failures(id)
      -- Failures that retention has dropped are failures still.
      and (
        failed_at is null
        or failed_at >= greatest(
          queue.kept_since('queue.finished_jobs_cancelled'), queue.kept_since('queue.finished_jobs_discarded')
        )
      );
    if found and batch.on_completed is not null then
      perform queue.enqueue_stored(batch.on_completed);
      enqueued := enqueued + 1;
    end if;
  end loop;
  return enqueued;
end $$;
