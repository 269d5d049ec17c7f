-- Failures, told apart by their fingerprint: each job that has failed keeps that of its last error, so that thousands of
-- failures of one cause are one line for whoever has to deal with them. What it is made of is said in
-- functions/failure_text.sql; it is computed when an attempt fails, because to read errors of thousands of jobs from the
-- history takes longer than anybody waits for a page.

alter table queue.jobs
  -- Of the last failed attempt; null if none has failed.
  add column failure bigint,
  -- When that attempt ended, or when the job was discarded before it was last redriven.
  add column failed_at timestamptz;

-- Few jobs are in it, and none that succeeds at its first attempt.
create index jobs_failed on queue.jobs (failure, failed_at, id) where failure is not null;

-- Of a discarded job that nobody has decided over; null for all others.
alter table queue.finished_jobs add column failure bigint;
create index finished_jobs_discarded_failures on queue.finished_jobs_discarded (failure, finished_at, id)
  where failure is not null;
