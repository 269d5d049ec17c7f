drop function
  queue.sweep_groups, queue.resolve, queue.settle_batches, queue.batch_is_unfinished, queue.batch_has_failures,
  queue.enqueue_stored, queue.settle_waiting, queue.fates, queue.enqueue;

-- Enqueues a job in the caller's transaction, from any language, from a trigger. Gives its id, or with `unique_by` the
-- id of the job that is there already and is_new = false.
--
--   select * from queue.enqueue('send_mail', '{"to": "ada@example.com"}');
--   select * from queue.enqueue('rebuild', '{"shard": 7}', run_at => now() + interval '1 hour', tags => '{nightly}');
--   select * from queue.enqueue('sync', args, unique_by => args, unique_for => interval '1 minute');
--
-- unique_by: jobs of this kind are the same when this is: all arguments, or a part of them. unique_for: for so long;
-- null: while one of them is in unique_while. unique_while: the states in which a job counts; by default all that are
-- not finished, and with unique_for also 'completed'.
--
-- Workers find the job at their next poll, or at once after `notify surety_queue`, sent after the commit: a NOTIFY
-- inside a busy transaction makes commits wait for each other.
create function queue.enqueue(
  kind text,
  args jsonb default '{}',
  queue text default 'default',
  priority int default 2,
  run_at timestamptz default null,
  max_attempts int default 10,
  key text default null,
  tags text[] default null,
  unique_by jsonb default null,
  unique_for interval default null,
  unique_while text[] default null,
  keeps_history boolean default true,
  on_discard jsonb default null,
  batch_id bigint default null,
  args_key text default null,
  trace_context jsonb default null
) returns table (job_id bigint, is_new boolean)
language plpgsql
as $$
#variable_conflict use_column
declare
  id constant bigint := nextval(pg_get_serial_sequence('queue.jobs', 'id'));
  existing bigint;
  due timestamptz;
begin
  -- A job must not appear behind a moment that claims have passed (queue/claim_floor.rs): the transaction gets its id
  -- before the clock is read, and no job is due earlier than that.
  perform pg_current_xact_id();
  if enqueue.unique_by is not null then
    existing := queue.reserve_unique(
      enqueue.kind, enqueue.unique_by, enqueue.unique_for,
      coalesce(
        enqueue.unique_while,
        array['scheduled', 'available', 'retryable', 'running']
          || case when enqueue.unique_for is not null then array['completed'] end
      ),
      id
    );
    if existing is not null then
      return query select existing, false;
      return;
    end if;
  end if;
  due := greatest(enqueue.run_at, clock_timestamp());
  insert into queue.jobs (
    id, queue, kind, priority, max_attempts, run_at, args, trace_context, on_discard, key, hold, keeps_history,
    batch_id, tags, args_key
  )
  overriding system value
  values (
    id, enqueue.queue, enqueue.kind, enqueue.priority, enqueue.max_attempts, due, coalesce(enqueue.args, '{}'),
    enqueue.trace_context, enqueue.on_discard, enqueue.key,
    case when enqueue.key is not null and enqueue.run_at > clock_timestamp() then 'until_due'::queue.hold end,
    coalesce(enqueue.keeps_history, true), enqueue.batch_id, enqueue.tags, enqueue.args_key
  );
  return query select id, true;
end $$;

drop index queue.jobs_of_batch;
create index jobs_of_batch on queue.jobs (batch_id) where batch_id is not null;

drop index queue.batches_done;
drop index queue.batches_to_complete;
alter table queue.batches drop constraint batches_callbacks_are_jobs, drop column completed_at;
drop function queue.is_stored_job;

alter table queue.dependencies drop column parent_failed;
