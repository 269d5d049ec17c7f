-- Verifications: when it was last checked that nothing was lost and no money made, and with which result. For people and
-- for alerts; nothing of ours depends on it.

create table audit.verifications (
  id           bigint generated always as identity primary key,
  -- A person, a machine or a part of the program, as in audit.entries.
  requested_by text collate "C" not null,
  started_at   timestamptz not null default clock_timestamp(),
  -- Null while it is under way.
  ended_at     timestamptz,
  -- Whether every guarantee held; null while it is under way, and when not all could be checked.
  holds        boolean,
  -- The rows that break a guarantee.
  violations   bigint,
  -- What was found, as `app verify --json` prints it.
  report       jsonb,
  -- The reason that not all could be checked.
  error        text,
  constraint verifications_name_somebody check (requested_by <> ''),
  constraint verifications_end_with_a_result check (
    (ended_at is null) = (report is null and error is null)
    and (report is null) = (holds is null)
    and (report is null) = (violations is null)
    and num_nonnulls(report, error) <= 1
  )
);

-- One at a time: each reads whole tables.
create unique index verifications_under_way on audit.verifications ((true)) where ended_at is null;
