//! The refusals of the operations on wallets.

use crate::http::edge::caller;
use crate::http::wire::json_body;
use crate::http::wire::problem::Code;
use crate::http::wire::refused::Refusals;

/// The refusals of `open_wallet`.
#[derive(Debug)]
pub(super) struct OpenWallet;

impl Refusals for OpenWallet {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, json_body::REFUSALS, &[Code::Forbidden]];
}

/// The refusals of `list_wallets`.
#[derive(Debug)]
pub(super) struct ListWallets;

impl Refusals for ListWallets {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::Forbidden]];
}

/// The refusals of `get_wallet` and of the other operations that read one wallet.
#[derive(Debug)]
pub(super) struct GetWallet;

impl Refusals for GetWallet {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::WalletNotFound]];
}

/// The refusals of `close_wallet`.
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

/// The refusals of `list_wallet_entries`.
#[derive(Debug)]
pub(super) struct ListEntries;

impl Refusals for ListEntries {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::InvalidCursor, Code::WalletNotFound]];
}
