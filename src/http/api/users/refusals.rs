//! What the operations on users can answer when all is not well.

use crate::http::edge::caller;
use crate::http::wire::json_body;
use crate::http::wire::problem::Code;
use crate::http::wire::refused::Refusals;

/// What `create_user` can answer besides.
#[derive(Debug)]
pub(super) struct CreateUser;

impl Refusals for CreateUser {
    const CODES: &'static [&'static [Code]] = &[
        json_body::REFUSALS,
        &[Code::EmailTaken, Code::RateLimited, Code::Unavailable, Code::Overloaded],
    ];
}

/// What `get_user` can answer besides.
#[derive(Debug)]
pub(super) struct GetUser;

impl Refusals for GetUser {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::UserNotFound]];
}

/// What `list_users` can answer besides.
#[derive(Debug)]
pub(super) struct ListUsers;

impl Refusals for ListUsers {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::InvalidCursor, Code::Forbidden]];
}

/// What `change_password` can answer besides.
#[derive(Debug)]
pub(super) struct ChangePassword;

impl Refusals for ChangePassword {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        json_body::REFUSALS,
        &[Code::InvalidParameter, Code::Forbidden, Code::UserNotFound],
    ];
}

/// What `change_user` can answer besides.
#[derive(Debug)]
pub(super) struct ChangeUser;

impl Refusals for ChangeUser {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        &[
            Code::BadRequest,
            Code::MalformedBody,
            Code::InvalidFields,
            Code::InvalidParameter,
            Code::Forbidden,
            Code::UserNotFound,
            Code::RequestTimeout,
            Code::LastAdmin,
            Code::BodyTooLarge,
            Code::UnsupportedMediaType,
            Code::UnacceptableValues,
        ],
    ];
}
