-- Enqueues a job in the caller's transaction, from any language, from a trigger. Gives its id, or with `unique_by` the
-- id of the job that is there already and is_new = false.
--
--   select * from queue.enqueue('send_mail', '{"to": "ada@example.com"}');
--   select * from queue.enqueue('rebuild', '{"shard": 7}', run_at => now() + interval '1 hour', tags => '{nightly}');
--   select * from queue.enqueue('sync', args, unique_by => args, unique_for => interval '1 minute');
--   select * from queue.enqueue('publish', after => array[811, 812], if_failed => 'wait');
--
-- unique_by: jobs of this kind are the same when this is: all arguments, or a part of them. unique_for: for so long;
-- null: while one of them is in unique_while. unique_while: the states in which a job counts; by default all that are
-- not finished, and with unique_for also 'completed'.
--
-- What is refused is told by name, and by the name of a constraint for programs. args: named fields, in at most as many
-- bytes of JSON as queue.settings allows.
--
-- after: the job waits until these have ended. if_failed: what becomes of it when one is discarded or cancelled:
-- 'cancel', 'wait' for its redrive, 'run' as if it had been completed. batch_id: a batch that is not done.
--
-- Workers find the job at their next poll, or at once after `notify surety_queue`, sent after the commit: a NOTIFY
-- inside a busy transaction makes commits wait for each other.
create or replace function queue.enqueue(
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
  trace_context jsonb default null,
  after bigint[] default null,
  if_failed text default 'cancel'
) returns table (job_id bigint, is_new boolean)
language plpgsql
as $$
#variable_conflict use_column
declare
  id constant bigint := nextval(pg_get_serial_sequence('queue.jobs', 'id'));
  args_bytes constant int := octet_length(enqueue.args::text);
  existing bigint;
  due timestamptz;
  problem text;
begin
  -- What the domains of the columns would not say as clearly, or not see.
  problem := case
    when enqueue.priority not between 1 and 4 then 'priority_is_known: priority is 1 to 4'
    when enqueue.max_attempts not between 1 and 1000 then 'attempts_are_bounded: max_attempts is 1 to 1000'
    when not (enqueue.run_at < '2200-01-01 00:00Z' and isfinite(enqueue.run_at))
      then 'moment_is_from_1970_to_2199: run_at is a moment before the year 2200'
    when not (enqueue.unique_for > '0' and enqueue.unique_for <= '100 years')
      then 'window_is_bounded: unique_for is longer than nothing, and 100 years at most'
    when not enqueue.unique_while <@ array[
        'scheduled', 'available', 'retryable', 'running', 'completed', 'cancelled', 'discarded'
      ]
      or array_position(enqueue.unique_while, null) is not null
      then 'states_are_known: unique_while names states of jobs'
    when enqueue.if_failed not in ('cancel', 'wait', 'run')
      then 'dependencies_say_what_if_failed: if_failed is cancel, wait or run'
    when array_position(enqueue.after, null) is not null
      then 'dependencies_are_not_null: after names jobs, none of them null'
  end;
  if problem is not null then
    raise exception '%', split_part(problem, ': ', 2)
      using errcode = 'check_violation', constraint = split_part(problem, ': ', 1);
  end if;
  if args_bytes > (select settings.max_args_bytes from queue.settings) then
    perform queue.refuse_args(enqueue.kind, args_bytes);
  end if;
  -- A job must not appear behind a moment that claims have passed (worker/claim/floor.rs): the transaction gets its id
  -- before the clock is read, and no job is due earlier than that.
  perform pg_current_xact_id();
  if enqueue.batch_id is not null then
    -- The lock keeps the batch from being done before this member is there to be seen.
    perform from queue.batches where batches.id = enqueue.batch_id and batches.done_at is null for key share;
    if not found then
      raise exception 'batch % is done, or there is none', enqueue.batch_id using errcode = '55000';
    end if;
  end if;
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
    case
      when cardinality(enqueue.after) > 0 then 'dependencies'::queue.hold
      when enqueue.key is not null and enqueue.run_at > clock_timestamp() then 'until_due'::queue.hold
    end,
    coalesce(enqueue.keeps_history, true) or enqueue.batch_id is not null, enqueue.batch_id, enqueue.tags,
    enqueue.args_key
  );
  insert into queue.dependencies (job_id, depends_on, if_failed)
  select distinct id, parent, enqueue.if_failed
  from unnest(enqueue.after) as parent;
  return query select id, true;
end $$;
