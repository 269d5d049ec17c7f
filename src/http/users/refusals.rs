//! What the operations on users can answer when all is not well.

use crate::http::problem::Code;
use crate::http::refused::Refusals;

/// What `create_user` can answer besides.
#[derive(Debug)]
pub(super) struct CreateUser;

impl Refusals for CreateUser {
    const CODES: &'static [Code] = &[
        Code::BadRequest,
        Code::MalformedBody,
        Code::MissingFields,
        Code::InvalidFields,
        Code::RequestTimeout,
        Code::EmailTaken,
        Code::BodyTooLarge,
        Code::UnsupportedMediaType,
        Code::UnacceptableValues,
        Code::RateLimited,
        Code::Unavailable,
        Code::Overloaded,
    ];
}

/// What `get_user` can answer besides.
#[derive(Debug)]
pub(super) struct GetUser;

impl Refusals for GetUser {
    const CODES: &'static [Code] = &[
        Code::InvalidParameter,
        Code::Unauthenticated,
        Code::UserNotFound,
        Code::RateLimited,
        Code::Unavailable,
        Code::Overloaded,
    ];
}

/// What `list_users` can answer besides.
#[derive(Debug)]
pub(super) struct ListUsers;

impl Refusals for ListUsers {
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

/// What `change_password` can answer besides.
#[derive(Debug)]
pub(super) struct ChangePassword;

impl Refusals for ChangePassword {
    const CODES: &'static [Code] = &[
        Code::BadRequest,
        Code::MalformedBody,
        Code::MissingFields,
        Code::InvalidFields,
        Code::InvalidParameter,
        Code::Unauthenticated,
        Code::Forbidden,
        Code::UserNotFound,
        Code::RequestTimeout,
        Code::BodyTooLarge,
        Code::UnsupportedMediaType,
        Code::UnacceptableValues,
        Code::RateLimited,
        Code::Unavailable,
        Code::Overloaded,
    ];
}

/// What `change_user` can answer besides.
#[derive(Debug)]
pub(super) struct ChangeUser;

impl Refusals for ChangeUser {
    const CODES: &'static [Code] = &[
        Code::BadRequest,
        Code::MalformedBody,
        Code::InvalidFields,
        Code::InvalidParameter,
        Code::Unauthenticated,
        Code::Forbidden,
        Code::UserNotFound,
        Code::RequestTimeout,
        Code::LastAdmin,
        Code::BodyTooLarge,
        Code::UnsupportedMediaType,
        Code::UnacceptableValues,
        Code::RateLimited,
        Code::Unavailable,
        Code::Overloaded,
    ];
}
