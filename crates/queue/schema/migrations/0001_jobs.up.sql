-- Jobs, from their enqueue to their history.
--
-- A job is one row of queue.jobs from its enqueue until it is finished; then the row moves, in one statement, to
-- queue.finished_jobs. So the hot table and its indexes hold unfinished work only, whatever the history weighs (G10),
-- and history, which never changes, is partitioned by time: retention drops partitions and deletes no rows.
--
-- Arguments stay in the job's own row. A payload table of its own would spare the claim a copy of them (PostgreSQL
-- already keeps values beyond 2 kB out of line, and an update does not touch those), at the price of one more insert
-- per enqueue and of partitions that one job scheduled for next year keeps from being dropped.

create schema if not exists queue;

-- The fence of every claim comes from here (G4). Never reset: a fence names one claim for ever.
create sequence queue.fence as bigint;

-- The bounds of a job's columns are domains and not constraints of the table: PostgreSQL reads the constraints of a
-- table anew for every statement that writes to it, those of a domain once per session. Here that was 40 of the 60 us
-- that the insert of one job took. Nor is a value that is refused shown with the whole row, secrets and all.
-- Names, and words that are shown to people: no control characters, C1 and those that turn the direction of writing
-- included, because a terminal would act on them.
create domain queue.plain_text as text collate "C"
  constraint text_has_no_control_characters check (
    value !~ '[\u0001-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]'
  );
create domain queue.queue_name as queue.plain_text
  constraint queue_is_named check (value <> '' and length(value) <= 100);
create domain queue.kind_name as queue.plain_text
  constraint kind_is_named check (value <> '' and length(value) <= 100);
create domain queue.job_priority as smallint constraint priority_is_known check (value between 1 and 4);
create domain queue.attempt_limit as smallint constraint attempts_are_bounded check (value between 1 and 1000);
create domain queue.attempt_count as smallint constraint attempts_are_counted check (value >= 0);
create domain queue.job_key as queue.plain_text constraint key_is_short check (length(value) between 1 and 200);
-- Up to 50 words of up to 200 characters, none of them null. They are looked at as the lines of one text, which has as
-- many lines as there are words if none is null. Of another shape than a plain list, no program could read them.
create domain queue.job_tags as text[]
  constraint tags_are_50_at_most check (cardinality(value) <= 50)
  constraint tags_are_a_list check (array_ndims(value) = 1 and array_lower(value, 1) = 1)
  constraint tags_are_plain_words check (
    array_to_string(value, e'\n')
      ~ '^([^\u0001-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]{0,200}(\n|$))*$'
    and cardinality(value)
      = greatest(cardinality(string_to_array(array_to_string(value, e'\n'), e'\n')), (value = '{""}')::int)
  );
-- The fields of a job by name: an array would be read by position, and mean something else in every version of a kind.
create domain queue.job_args as jsonb constraint args_are_named check (jsonb_typeof(value) <> 'array');
-- A moment that any program can read and tell: `infinity` is none.
create domain queue.moment as timestamptz
  constraint moment_is_from_1970_to_2199 check (value >= '1970-01-01 00:00Z' and value < '2200-01-01 00:00Z');
-- The bytes of arguments and checkpoint as they are sent to a worker. queue.settings has the limit that enqueues meet;
-- this one, which is above all that it can be set to, is met by whatever else writes: it bounds what one claim has to
-- bring, and leaves room for the follow-up of a job with large arguments, which repeats them.
create domain queue.job_bytes as int constraint job_is_2_mib_at_most check (value <= 2097152);
-- W3C trace context: an object of short texts. What else there may be is left out by whoever reads it.
create domain queue.job_trace as jsonb constraint trace_context_is_an_object_of_texts check (
  jsonb_typeof(value) = 'object'
  and octet_length(value::text) <= 4096
  and not jsonb_path_exists(value, '$.* ? (@.type() != "string")')
);
create domain queue.percentage as smallint constraint percentage_is_bounded check (value between 0 and 100);
-- The job to enqueue in the place of another, see queue.jobs.on_discard. Checked when that other one is enqueued:
-- a follow-up that cannot be enqueued later would stop the rescue of all jobs.
create domain queue.follow_up as jsonb constraint follow_up_is_a_job check (
  value is null
  or (
    length((value ->> 'kind')::queue.plain_text) between 1 and 100
    and length((value ->> 'queue')::queue.plain_text) between 1 and 100
    and (value ->> 'priority')::smallint between 1 and 4
    and (value ->> 'max_attempts')::smallint between 1 and 1000
  ) is true
);

-- What holds for the whole queue, in one row. An operator changes it by an update.
create table queue.settings (
  is_only_row    boolean primary key default true constraint settings_are_one_row check (is_only_row),
  -- The most bytes of JSON that the arguments of a new job may have. A claim brings the arguments of many jobs.
  max_args_bytes int not null default 262144
    constraint settings_max_args_bytes_is_1_kib_to_1_mib check (max_args_bytes between 1024 and 1048576)
);
insert into queue.settings default values;

-- The reason for which a job cannot be claimed although nobody runs it and nothing is wrong with it.
create type queue.hold as enum (
  -- It has a key and is not due yet. Jobs with keys are found by key and not by time, so those of the future are kept
  -- out of the way until somebody sees that they are due.
  'until_due',
  -- It waits for other jobs to end.
  'dependencies'
);

-- The columns that nearly all jobs leave null come last: there they cost nothing but bits of the null bitmap.
create table queue.jobs (
  id                  bigint generated always as identity primary key,
  queue               queue.queue_name not null default 'default',
  kind                queue.kind_name not null,
  -- 1 is claimed first, 4 last. A claim asks for each (queue, priority) by itself, hence the small number of them.
  priority            queue.job_priority not null default 2,
  -- True while a worker holds the lease below. A column of its own, because the index predicates use it: a heartbeat
  -- changes only lease_expires_at, which no index knows, and so stays a heap-only update.
  running             boolean not null default false,
  -- When the job is due; among due jobs of one priority the order. Never earlier than the moment of its writing: the
  -- floors of claims rely on that.
  run_at              queue.moment not null default clock_timestamp(),
  -- Runs begun so far, counted when the job is claimed, so that a crash at any later point is still counted.
  attempt             queue.attempt_count not null default 0,
  max_attempts        queue.attempt_limit not null default 10,
  -- Attempts whose worker was lost. They do not count against max_attempts but have a cap of their own: a job that
  -- takes its worker down each time must end, too.
  crash_count         queue.attempt_count not null default 0,
  -- Attempts begun before the job was last redriven. They are numbered on, but the backoff begins anew.
  prior_attempts      queue.attempt_count not null default 0,
  -- False: once completed, the job leaves nothing behind. Other ends, and failed attempts, are always kept.
  keeps_history       boolean not null default true,
  fence               bigint,
  worker_id           uuid,
  started_at          timestamptz,
  lease_expires_at    timestamptz,
  enqueued_at         queue.moment not null default clock_timestamp(),
  args                queue.job_args not null default '{}',
  -- What a claim counts, so that it need not fetch arguments that are stored out of line, or are compressed.
  bytes               queue.job_bytes not null generated always as (
    octet_length(args::text) + coalesce(octet_length(checkpoint::text), 0)
  ) stored,
  -- W3C trace context of whoever enqueued the job, and the traceparent of the attempt before this one.
  trace_context       queue.job_trace,
  last_traceparent    text,
  -- The reason that the handler gave when it snoozed. The claim clears it. No index knows it.
  wait_reason         text,
  -- The job to enqueue when this one is discarded and its handler has not seen to that itself: kind, queue, priority
  -- and max_attempts of it. With the job, because the worker that discards it may know neither kind. Null: none.
  on_discard          queue.follow_up,
  -- Jobs of one key share the limits per key of their queue, take fair turns with those of other keys, and run one
  -- after another if the queue is ordered.
  key                 queue.job_key,
  hold                queue.hold,
  batch_id            bigint,
  tags                queue.job_tags,
  -- Set while a running job is to be stopped: by whom, and why.
  cancel_requested_by text,
  cancel_reason       text,
  -- Told by the handler in this or an earlier attempt.
  progress            queue.percentage,
  progress_text       text,
  checkpoint          jsonb,
  -- The id of the key that args are sealed with; null for plain JSON.
  args_key            queue.plain_text,
  constraint jobs_running_has_lease check (
    running = (fence is not null and worker_id is not null and started_at is not null and lease_expires_at is not null)
  ),
  constraint jobs_cancel_is_told check ((cancel_requested_by is null) = (cancel_reason is null)),
  -- The outcomes of its members are counted when a batch ends.
  constraint jobs_of_batches_keep_history check (batch_id is null or keeps_history)
) with (
  -- Room on each page for the new row version that the claim writes.
  fillfactor = 80,
  -- Vacuum by number of dead rows, never by share of the table, and without pausing: this table turns over
  -- completely many times an hour while it stays small.
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 2000,
  autovacuum_vacuum_insert_scale_factor = 0,
  autovacuum_vacuum_insert_threshold = 50000,
  autovacuum_analyze_scale_factor = 0,
  autovacuum_analyze_threshold = 50000,
  autovacuum_vacuum_cost_delay = 0
);

-- For claims: jobs without a key by time, jobs with one by key. Held jobs are in neither. For one queue and priority the
-- due jobs come in order, and jobs of the future last.
create index jobs_waiting on queue.jobs (queue, priority, run_at, id)
  where not running and key is null and hold is null;
create index jobs_waiting_by_key on queue.jobs (queue, key, priority, run_at, id)
  where not running and key is not null and hold is null;
create index jobs_until_due on queue.jobs (queue, run_at) where hold = 'until_due';
-- For the rescue. By id and not by lease_expires_at, so that heartbeats stay heap-only updates; it has at most as many
-- live entries as all workers together have slots.
create index jobs_running on queue.jobs (id) where running;
-- The head of a key, whatever it does, and how many of a key run.
create index jobs_of_key on queue.jobs (queue, key, id) where key is not null;
create index jobs_running_by_key on queue.jobs (queue, key) where running and key is not null;
-- Whether a batch has unfinished members is asked again and again while they end: from the newest on, which is the one
-- most likely to be there, so that the dead entries of those that have ended are not read.
create index jobs_of_batch on queue.jobs (batch_id, id) where batch_id is not null;
create index jobs_held on queue.jobs (id) where hold = 'dependencies';
create index jobs_to_cancel on queue.jobs (id) where cancel_reason is not null;

create type queue.finished_state as enum ('completed', 'cancelled', 'discarded');

-- Finished jobs, each moved here by the statement that finished it (functions/end_jobs.sql). Terminal states never
-- change, so a partition per state is safe (a live row that changed partition would fail concurrent updates), and each
-- state has a retention. The daily partitions are made by functions/ensure_partitions.sql.
create table queue.finished_jobs (
  id               bigint not null,
  queue            text collate "C" not null,
  kind             text collate "C" not null,
  priority         smallint not null,
  attempt          smallint not null,
  max_attempts     smallint not null,
  crash_count      smallint not null,
  prior_attempts   smallint not null default 0,
  state            queue.finished_state not null,
  run_at           timestamptz not null,
  enqueued_at      timestamptz not null,
  finished_at      timestamptz not null default clock_timestamp(),
  args             jsonb not null,
  trace_context    jsonb,
  last_traceparent text,
  -- For a redrive, as prior_attempts: completed jobs have neither.
  on_discard       jsonb,
  key              text collate "C",
  batch_id         bigint,
  tags             text[],
  output           jsonb,
  progress         smallint,
  progress_text    text,
  checkpoint       jsonb,
  args_key         text collate "C"
) partition by list (state);

create table queue.finished_jobs_completed partition of queue.finished_jobs for values in ('completed')
  partition by range (finished_at);
create table queue.finished_jobs_cancelled partition of queue.finished_jobs for values in ('cancelled')
  partition by range (finished_at);
create table queue.finished_jobs_discarded partition of queue.finished_jobs for values in ('discarded')
  partition by range (finished_at);
-- For what finishes on a day that has no partition: a completion must not fail because nobody made one, or because the
-- clock is wrong. And for discarded jobs that nobody has decided over, when their day is dropped.
create table queue.finished_jobs_completed_other partition of queue.finished_jobs_completed default;
create table queue.finished_jobs_cancelled_other partition of queue.finished_jobs_cancelled default;
create table queue.finished_jobs_discarded_other partition of queue.finished_jobs_discarded default;
create index finished_jobs_id on queue.finished_jobs (id);
create index finished_jobs_of_batch on queue.finished_jobs (batch_id) where batch_id is not null;
-- For operators, who page through them newest first.
create index finished_jobs_discarded_newest on queue.finished_jobs_discarded (finished_at, id);

create type queue.attempt_outcome as enum ('completed', 'failed', 'timed_out', 'crashed', 'discarded', 'cancelled');

-- One row per attempt, written when it ends and never changed.
create table queue.attempts (
  job_id      bigint not null,
  attempt     smallint not null,
  fence       bigint not null,
  worker_id   uuid not null,
  started_at  timestamptz not null,
  ended_at    timestamptz not null default clock_timestamp(),
  outcome     queue.attempt_outcome not null,
  -- The whole error chain, cut at 8 KiB; null exactly when the attempt completed.
  error       text,
  traceparent text
) partition by range (ended_at);
create table queue.attempts_other partition of queue.attempts default;
create index attempts_job on queue.attempts (job_id, attempt);

-- What retention found when it last looked at a table of the history. It drops some days at once only after the clock
-- by which they are too old has gone on for a while: one that is wrong by weeks must not cost the history of weeks.
create table queue.retention (
  history         text primary key,
  -- Days that are too old, and are kept all the same until this has been so for a while.
  held_back       int not null,
  held_back_since timestamptz,
  looked_at       timestamptz not null,
  constraint retention_tells_since_when check ((held_back > 0) = (held_back_since is not null))
);

-- Reservations of unique jobs: the latest job of each key. The primary key is what makes a second one impossible.
create table queue.unique_keys (
  key        bytea primary key,
  job_id     bigint not null,
  -- The end of the window; null: for as long as the job is in one of the states that the enqueue names.
  expires_at timestamptz
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
