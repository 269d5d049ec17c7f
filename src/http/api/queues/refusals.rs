//! The refusals of the operations on queues.

use crate::http::edge::caller;
use crate::http::wire::json_body;
use crate::http::wire::problem::Code;
use crate::http::wire::refused::Refusals;

/// The refusals of `list_queues`.
#[derive(Debug)]
pub(super) struct ListQueues;

impl Refusals for ListQueues {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::InvalidCursor, Code::Forbidden]];
}

/// The refusals of operations that read one queue.
#[derive(Debug)]
pub(super) struct GetQueue;

impl Refusals for GetQueue {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        &[Code::InvalidParameter, Code::InvalidCursor, Code::Forbidden, Code::QueueNotFound],
    ];
}

/// The refusals of operations on all queues.
#[derive(Debug)]
pub(super) struct ChangeAll;

impl Refusals for ChangeAll {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, json_body::REFUSALS, &[Code::Forbidden]];
}

/// The refusals of operations that change one queue.
#[derive(Debug)]
pub(super) struct ChangeQueue;

impl Refusals for ChangeQueue {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        json_body::REFUSALS,
        &[Code::InvalidParameter, Code::Forbidden, Code::QueueNotFound],
    ];
}

/// The refusals of `change_queue_limits`.
#[derive(Debug)]
pub(super) struct ChangeLimits;

impl Refusals for ChangeLimits {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        json_body::REFUSALS,
        &[
            Code::InvalidParameter,
            Code::InvalidIfMatch,
            Code::Forbidden,
            Code::QueueNotFound,
            Code::PreconditionFailed,
        ],
    ];
}

/// The refusals of `unblock_queue_key`.
#[derive(Debug)]
pub(super) struct UnblockKey;

impl Refusals for UnblockKey {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        json_body::REFUSALS,
        &[Code::InvalidParameter, Code::Forbidden, Code::QueueNotFound, Code::KeyNotBlocked],
    ];
}
