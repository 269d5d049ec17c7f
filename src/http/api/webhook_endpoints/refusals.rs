//! The refusals of the operations on webhook endpoints and deliveries.

use crate::http::edge::caller;
use crate::http::wire::json_body;
use crate::http::wire::problem::Code;
use crate::http::wire::refused::Refusals;

/// The refusals of `create_webhook_endpoint`.
#[derive(Debug)]
pub(super) struct CreateEndpoint;

impl Refusals for CreateEndpoint {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, json_body::REFUSALS, &[Code::Forbidden, Code::TooManyEndpoints]];
}

/// The refusals of `list_webhook_endpoints`.
#[derive(Debug)]
pub(super) struct ListEndpoints;

impl Refusals for ListEndpoints {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::InvalidCursor, Code::Forbidden]];
}

/// The refusals of operations on one endpoint.
#[derive(Debug)]
pub(super) struct GetEndpoint;

impl Refusals for GetEndpoint {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::Forbidden, Code::EndpointNotFound]];
}

/// The refusals of operations that change one endpoint.
#[derive(Debug)]
pub(super) struct ChangeEndpoint;

impl Refusals for ChangeEndpoint {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        json_body::REFUSALS,
        &[Code::InvalidParameter, Code::Forbidden, Code::EndpointNotFound],
    ];
}

/// The refusals of `list_deliveries`.
#[derive(Debug)]
pub(super) struct ListDeliveries;

impl Refusals for ListDeliveries {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        &[Code::InvalidParameter, Code::InvalidCursor, Code::Forbidden, Code::EndpointNotFound],
    ];
}

/// The refusals of operations on one delivery or replay.
#[derive(Debug)]
pub(super) struct GetDelivery;

impl Refusals for GetDelivery {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        &[Code::InvalidParameter, Code::Forbidden, Code::EndpointNotFound, Code::DeliveryNotFound],
    ];
}

/// The refusals of operations that send something.
#[derive(Debug)]
pub(super) struct SendAgain;

impl Refusals for SendAgain {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        &[
            Code::InvalidParameter,
            Code::Forbidden,
            Code::EndpointNotFound,
            Code::DeliveryNotFound,
            Code::EndpointDisabled,
            Code::DeliveryPending,
        ],
    ];
}

/// The refusals of `replay_deliveries`.
#[derive(Debug)]
pub(super) struct StartReplay;

impl Refusals for StartReplay {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        json_body::REFUSALS,
        &[Code::InvalidParameter, Code::Forbidden, Code::EndpointNotFound, Code::EndpointDisabled],
    ];
}
