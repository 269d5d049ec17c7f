//! What the operations on dead letters can answer when all is not well.

use crate::http::problem::Code;
use crate::http::refused::Refusals;

/// What `list_dead_letters` can answer besides.
#[derive(Debug)]
pub(super) struct ListDeadLetters;

impl Refusals for ListDeadLetters {
    const CODES: &'static [Code] = &[
        Code::InvalidParameter,
        Code::InvalidCursor,
        Code::Unauthenticated,
        Code::Forbidden,
        Code::RateLimited,
        Code::Unavailable,
        Code::Overloaded,
    ];
}

/// What `get_dead_letter` can answer besides.
#[derive(Debug)]
pub(super) struct GetDeadLetter;

impl Refusals for GetDeadLetter {
    const CODES: &'static [Code] = &[
        Code::InvalidParameter,
        Code::Unauthenticated,
        Code::Forbidden,
        Code::DeadLetterNotFound,
        Code::RateLimited,
        Code::Unavailable,
        Code::Overloaded,
    ];
}

/// What `redrive_dead_letter` can answer besides.
#[derive(Debug)]
pub(super) struct Redrive;

impl Refusals for Redrive {
    const CODES: &'static [Code] = &[
        Code::BadRequest,
        Code::MalformedBody,
        Code::MissingFields,
        Code::InvalidFields,
        Code::InvalidParameter,
        Code::Unauthenticated,
        Code::Forbidden,
        Code::DeadLetterNotFound,
        Code::RequestTimeout,
        Code::DeadLetterDecided,
        Code::NothingToRedrive,
        Code::BodyTooLarge,
        Code::UnsupportedMediaType,
        Code::UnacceptableValues,
        Code::InsufficientFunds,
        Code::RateLimited,
        Code::Unavailable,
        Code::Overloaded,
    ];
}

/// What `write_off_dead_letter` can answer besides.
#[derive(Debug)]
pub(super) struct WriteOff;

impl Refusals for WriteOff {
    const CODES: &'static [Code] = &[
        Code::BadRequest,
        Code::MalformedBody,
        Code::MissingFields,
        Code::InvalidFields,
        Code::InvalidParameter,
        Code::Unauthenticated,
        Code::Forbidden,
        Code::DeadLetterNotFound,
        Code::RequestTimeout,
        Code::DeadLetterDecided,
        Code::BodyTooLarge,
        Code::UnsupportedMediaType,
        Code::UnacceptableValues,
        Code::RateLimited,
        Code::Unavailable,
        Code::Overloaded,
    ];
}
