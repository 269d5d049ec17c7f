//! Pages about the work: jobs, queues, schedules and workers.
//!
//! One file per page, or per thing with a list, a page of its own and actions.

pub(super) mod attempts;
pub(super) mod job;
pub(super) mod job_filter;
pub(super) mod jobs;
pub(super) mod overview;
pub(super) mod queues;
pub(super) mod schedules;
pub(super) mod workers;
