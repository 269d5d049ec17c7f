//! What the operations on wallets can answer when all is not well.

use crate::http::edge::caller;
use crate::http::wire::json_body;
use crate::http::wire::problem::Code;
use crate::http::wire::refused::Refusals;

/// What `open_wallet` can answer besides.
#[derive(Debug)]
pub(super) struct OpenWallet;

impl Refusals for OpenWallet {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, json_body::REFUSALS, &[Code::Forbidden]];
}

/// What `list_wallets` can answer besides.
#[derive(Debug)]
pub(super) struct ListWallets;

impl Refusals for ListWallets {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::Forbidden]];
}

/// What `get_wallet` and those that read one wallet can answer besides.
#[derive(Debug)]
pub(super) struct GetWallet;

impl Refusals for GetWallet {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::WalletNotFound]];
}

/// What `close_wallet` can answer besides.
#[derive(Debug)]
pub(super) struct CloseWallet;

impl Refusals for CloseWallet {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        &[
            Code::InvalidParameter,
            Code::Forbidden,
            Code::WalletNotFound,
            Code::RequestTimeout,
            Code::WalletNotEmpty,
            Code::BodyTooLarge,
        ],
    ];
}

/// What `list_wallet_entries` can answer besides.
#[derive(Debug)]
pub(super) struct ListEntries;

impl Refusals for ListEntries {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::InvalidCursor, Code::WalletNotFound]];
}
