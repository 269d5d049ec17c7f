//! Pages about the work: jobs, queues, failures, schedules and workers, and actions on many jobs.
//!
//! One file per page, or per thing with a list, a page of its own and actions.

pub(super) mod attempts;
mod attention;
pub(super) mod bulk;
pub(super) mod failures;
pub(super) mod job;
pub(super) mod job_args;
pub(super) mod job_filter;
pub(super) mod jobs;
pub(super) mod operations;
pub(super) mod overview;
pub(super) mod queues;
pub(super) mod schedules;
pub(super) mod workers;
