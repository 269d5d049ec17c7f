//! The refusals of the operations on dead letters.

use crate::http::edge::caller;
use crate::http::wire::json_body;
use crate::http::wire::problem::Code;
use crate::http::wire::refused::Refusals;

/// The refusals of `list_dead_letters`.
#[derive(Debug)]
pub(super) struct ListDeadLetters;

impl Refusals for ListDeadLetters {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::InvalidCursor, Code::Forbidden]];
}

/// The refusals of `get_dead_letter`.
#[derive(Debug)]
pub(super) struct GetDeadLetter;

impl Refusals for GetDeadLetter {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::Forbidden, Code::DeadLetterNotFound]];
}

/// The refusals of `redrive_dead_letter`.
#[derive(Debug)]
pub(super) struct Redrive;

impl Refusals for Redrive {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        json_body::REFUSALS,
        &[
            Code::InvalidParameter,
            Code::Forbidden,
            Code::DeadLetterNotFound,
            Code::DeadLetterDecided,
            Code::NothingToRedrive,
        ],
    ];
}

/// The refusals of `write_off_dead_letter`.
#[derive(Debug)]
pub(super) struct WriteOff;

impl Refusals for WriteOff {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        json_body::REFUSALS,
        &[
            Code::InvalidParameter,
            Code::Forbidden,
            Code::DeadLetterNotFound,
            Code::DeadLetterDecided,
        ],
    ];
}
