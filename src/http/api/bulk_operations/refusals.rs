//! The refusals of the operations on bulk operations.

use crate::http::edge::caller;
use crate::http::wire::json_body;
use crate::http::wire::problem::Code;
use crate::http::wire::refused::Refusals;

/// The refusals of `start_operation`.
#[derive(Debug)]
pub(super) struct StartOperation;

impl Refusals for StartOperation {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        json_body::REFUSALS,
        &[Code::Forbidden, Code::NothingEligible, Code::TooManyOperations],
    ];
}

/// The refusals of `list_operations`.
#[derive(Debug)]
pub(super) struct ListOperations;

impl Refusals for ListOperations {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::InvalidCursor, Code::Forbidden]];
}

/// The refusals of `get_operation`.
#[derive(Debug)]
pub(super) struct GetOperation;

impl Refusals for GetOperation {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::Forbidden, Code::OperationNotFound]];
}

/// The refusals of `cancel_operation`.
#[derive(Debug)]
pub(super) struct CancelOperation;

impl Refusals for CancelOperation {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        json_body::REFUSALS,
        &[
            Code::InvalidParameter,
            Code::Forbidden,
            Code::OperationNotFound,
            Code::OperationFinished,
        ],
    ];
}
