//! The refusals of the operations on users.

use crate::http::edge::caller;
use crate::http::wire::json_body;
use crate::http::wire::problem::Code;
use crate::http::wire::refused::Refusals;

/// The refusals of `create_user`.
#[derive(Debug)]
pub(super) struct CreateUser;

impl Refusals for CreateUser {
    const CODES: &'static [&'static [Code]] = &[
        json_body::REFUSALS,
        &[Code::EmailTaken, Code::RateLimited, Code::Unavailable, Code::Overloaded],
    ];
}

/// The refusals of `get_user`.
#[derive(Debug)]
pub(super) struct GetUser;

impl Refusals for GetUser {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::UserNotFound]];
}

/// The refusals of `list_users`.
#[derive(Debug)]
pub(super) struct ListUsers;

impl Refusals for ListUsers {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::InvalidCursor, Code::Forbidden]];
}

/// The refusals of `change_password`.
#[derive(Debug)]
pub(super) struct ChangePassword;

impl Refusals for ChangePassword {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        json_body::REFUSALS,
        &[Code::InvalidParameter, Code::Forbidden, Code::UserNotFound],
    ];
}

/// The refusals of `change_user`.
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
            Code::UserNotSettled,
            Code::BodyTooLarge,
            Code::UnsupportedMediaType,
            Code::UnacceptableValues,
        ],
    ];
}
