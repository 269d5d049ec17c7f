//! The refusals of the operations on conflicts.

use crate::http::edge::caller;
use crate::http::wire::json_body;
use crate::http::wire::problem::Code;
use crate::http::wire::refused::Refusals;

/// The refusals of `list_conflicts`.
#[derive(Debug)]
pub(super) struct ListConflicts;

impl Refusals for ListConflicts {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::InvalidCursor, Code::Forbidden]];
}

/// The refusals of `get_conflict`.
#[derive(Debug)]
pub(super) struct GetConflict;

impl Refusals for GetConflict {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::Forbidden, Code::ConflictNotFound]];
}

/// The refusals of `resolve_conflict`.
#[derive(Debug)]
pub(super) struct ResolveConflict;

impl Refusals for ResolveConflict {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        json_body::REFUSALS,
        &[
            Code::InvalidParameter,
            Code::Forbidden,
            Code::ConflictNotFound,
            Code::ConflictResolved,
            Code::NotCorrectable,
        ],
    ];
}
