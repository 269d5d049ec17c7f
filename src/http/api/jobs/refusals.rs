//! The refusals of the operations on jobs.

use crate::http::edge::caller;
use crate::http::wire::json_body;
use crate::http::wire::problem::Code;
use crate::http::wire::refused::Refusals;

/// The refusals of `list_jobs`.
#[derive(Debug)]
pub(super) struct ListJobs;

impl Refusals for ListJobs {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::InvalidCursor, Code::Forbidden]];
}

/// The refusals of `get_job`.
#[derive(Debug)]
pub(super) struct GetJob;

impl Refusals for GetJob {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::Forbidden, Code::JobNotFound]];
}

/// The refusals of `enqueue_job`.
#[derive(Debug)]
pub(super) struct EnqueueJob;

impl Refusals for EnqueueJob {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, json_body::REFUSALS, &[Code::Forbidden]];
}

/// The refusals of operations that change one job.
#[derive(Debug)]
pub(super) struct ChangeJob;

impl Refusals for ChangeJob {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        json_body::REFUSALS,
        &[Code::InvalidParameter, Code::Forbidden, Code::JobNotFound, Code::JobUnsuitable],
    ];
}

/// The refusals of `edit_job`.
#[derive(Debug)]
pub(super) struct EditJob;

impl Refusals for EditJob {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        json_body::REFUSALS,
        &[
            Code::InvalidParameter,
            Code::InvalidIfMatch,
            Code::Forbidden,
            Code::JobNotFound,
            Code::JobUnsuitable,
            Code::PreconditionFailed,
        ],
    ];
}
