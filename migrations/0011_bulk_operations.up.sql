-- Bulk operations: one action on all jobs that match a filter, by a job that works through them in chunks. And decisions
-- over conflicting transactions.

create schema if not exists operations;

create type operations.bulk_state as enum (
  -- Its job has not begun.
  'waiting',
  'running',
  -- All of its scope was seen to.
  'completed',
  -- Somebody stopped it; what was done stays done.
  'cancelled'
);

-- One row per operation, kept for good. Each chunk commits together with how far it got: so after a crash nothing is done
-- twice, and no count is wrong.
create table operations.bulk_operations (
  id             bigint generated always as identity primary key,
  action         text collate "C" not null,
  -- The jobs that are meant, as they were when it was asked for (jobs::changes::scope): the filter, and the job before
  -- which they begin.
  filter         jsonb not null,
  -- The same for people.
  filter_text    text not null,
  newest         bigint not null,
  -- What was counted when it was asked for; there may be more.
  eligible       bigint not null,
  eligible_is_more boolean not null,
  sample         jsonb not null,
  state          operations.bulk_state not null default 'waiting',
  -- The job before which the next chunk begins; null after the last.
  next_before    bigint,
  -- Jobs of chunks before it that need a transaction each, and have not had it.
  pending        bigint[] not null default '{}',
  -- How many more jobs it may look at.
  jobs_left      bigint not null,
  done           bigint not null default 0,
  failed         bigint not null default 0,
  -- By the code of the reason.
  skipped        jsonb not null default '{}',
  -- The error of the last job that failed.
  last_error     text,
  made_by        text not null,
  reason         text not null,
  request_id     text,
  -- The job that carries it out.
  job_id         bigint,
  created_at     timestamptz not null default clock_timestamp(),
  started_at     timestamptz,
  finished_at    timestamptz,
  cancelled_by   text,
  cancel_reason  text,
  constraint bulk_operations_name_somebody check (made_by <> ''),
  constraint bulk_operations_end_is_dated check ((state in ('completed', 'cancelled')) = (finished_at is not null)),
  constraint bulk_operations_cancel_is_told check ((state = 'cancelled') = (cancelled_by is not null)),
  constraint bulk_operations_pend_a_chunk check (cardinality(pending) <= 1000)
) with (fillfactor = 50);
create index bulk_operations_unfinished on operations.bulk_operations (id) where finished_at is null;

alter table payments.transaction_conflicts
  -- 'kept': ours stands; 'corrected': theirs was right, and the ledger was corrected by linked transactions.
  add column resolution text,
  add column resolved_by text,
  add column resolve_reason text,
  add column resolved_at timestamptz,
  -- Of a correction: what moves our money back, if ours had moved any, and what moves theirs.
  add column reversal_id bigint references payments.transactions (id),
  add column correction_id bigint references payments.transactions (id),
  add constraint transaction_conflicts_resolution_is_known check (resolution in ('kept', 'corrected')),
  add constraint transaction_conflicts_resolution_is_told check (
    (resolution is null) = (resolved_by is null)
    and (resolution is null) = (resolve_reason is null)
    and (resolution is null) = (resolved_at is null)
  ),
  add constraint transaction_conflicts_correction_is_linked check (
    (resolution is not distinct from 'corrected') = (correction_id is not null)
  );
create index transaction_conflicts_open on payments.transaction_conflicts (id) where resolution is null;
-- A second correction would move our money back twice.
create unique index transaction_conflicts_corrected_once on payments.transaction_conflicts (transaction_id)
  where resolution = 'corrected';
