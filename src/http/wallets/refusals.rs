//! What the operations on wallets can answer when all is not well.

use crate::http::problem::Code;
use crate::http::refused::Refusals;

/// What `open_wallet` can answer besides.
#[derive(Debug)]
pub(super) struct OpenWallet;

impl Refusals for OpenWallet {
    const CODES: &'static [Code] = &[
        Code::BadRequest,
        Code::MalformedBody,
        Code::MissingFields,
        Code::InvalidFields,
        Code::Unauthenticated,
        Code::Forbidden,
        Code::RequestTimeout,
        Code::BodyTooLarge,
        Code::UnsupportedMediaType,
        Code::UnacceptableValues,
        Code::RateLimited,
        Code::Unavailable,
        Code::Overloaded,
    ];
}

/// What `list_wallets` can answer besides.
#[derive(Debug)]
pub(super) struct ListWallets;

impl Refusals for ListWallets {
    const CODES: &'static [Code] = &[
        Code::InvalidParameter,
        Code::Unauthenticated,
        Code::Forbidden,
        Code::RateLimited,
        Code::Unavailable,
        Code::Overloaded,
    ];
}

/// What `get_wallet` and those that read one wallet can answer besides.
#[derive(Debug)]
pub(super) struct GetWallet;

impl Refusals for GetWallet {
    const CODES: &'static [Code] = &[
        Code::InvalidParameter,
        Code::Unauthenticated,
        Code::WalletNotFound,
        Code::RateLimited,
        Code::Unavailable,
        Code::Overloaded,
    ];
}

/// What `close_wallet` can answer besides.
#[derive(Debug)]
pub(super) struct CloseWallet;

impl Refusals for CloseWallet {
    const CODES: &'static [Code] = &[
        Code::InvalidParameter,
        Code::Unauthenticated,
        Code::Forbidden,
        Code::WalletNotFound,
        Code::RequestTimeout,
        Code::WalletNotEmpty,
        Code::BodyTooLarge,
        Code::RateLimited,
        Code::Unavailable,
        Code::Overloaded,
    ];
}

/// What `list_wallet_entries` can answer besides.
#[derive(Debug)]
pub(super) struct ListEntries;

impl Refusals for ListEntries {
    const CODES: &'static [Code] = &[
        Code::InvalidParameter,
        Code::InvalidCursor,
        Code::Unauthenticated,
        Code::WalletNotFound,
        Code::RateLimited,
        Code::Unavailable,
        Code::Overloaded,
    ];
}
