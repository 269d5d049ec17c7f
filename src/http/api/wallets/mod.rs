//! Wallets: what users have.

mod bodies;
mod refusals;
mod statements;

use poem::http::Uri;
use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, OpenApi};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use self::bodies::{EntryPage, NewWallet, WalletBalance, WalletList};
use self::refusals::{CloseWallet, GetWallet, ListEntries, ListWallets, OpenWallet};
use self::statements::Csv;
use super::ApiTags;
use crate::http::edge::caller::Caller;
use crate::http::edge::database::{in_transaction, within_seconds};
use crate::http::wire::id::Id;
use crate::http::wire::if_match::etag;
use crate::http::wire::json_body::JsonBody;
use crate::http::wire::lists::{self, DEFAULT_LIMIT, refuse_unknown_parameters};
use crate::http::wire::moment::Moment;
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, Problem};
use crate::http::wire::refused::Refused;
use crate::ids::AccountId;
use crate::payments::statements::{PeriodRefusal, balance_at, statement};
use crate::payments::wallets::{self, CloseRefusal, Wallet};

pub use self::bodies::WalletOut;

/// A statement has at most so many entries.
const MAX_STATEMENT_ENTRIES: i64 = 50_000;

/// The API of wallets.
#[derive(Clone)]
pub struct WalletsApi {
    /// The database of wallets.
    pub pool: PgPool,
}

#[OpenApi]
impl WalletsApi {
    /// Open a wallet
    ///
    /// You have one wallet per currency. If there is one already, you get it; if it was closed, it
    /// is opened again.
    #[oai(
        path = "/v1/wallets",
        method = "post",
        operation_id = "open_wallet",
        tag = "ApiTags::Wallets"
    )]
    async fn open_wallet(
        &self,
        caller: Caller,
        body: JsonBody<NewWallet>,
    ) -> Result<WalletOpened, Refused<OpenWallet>> {
        let owner = caller.owner()?;
        let currency = body.read()?;
        let (wallet, is_new) = in_transaction(&self.pool, async |conn| {
            let opened = wallets::open(&mut *conn, owner, currency).await?;
            Ok((readable(conn, &caller, opened.wallet).await?, opened.is_new))
        })
        .await?;
        let location = format!("/v1/wallets/{}", wallet.id);
        let (etag, wallet) = (etag(wallet.version), Json(WalletOut::from(wallet)));
        Ok(match is_new {
            true => WalletOpened::Created(wallet, etag, location),
            false => WalletOpened::Known(wallet, etag),
        })
    }

    /// List your wallets
    ///
    /// In the order in which they were made.
    #[oai(
        path = "/v1/wallets",
        method = "get",
        operation_id = "list_wallets",
        tag = "ApiTags::Wallets"
    )]
    async fn list_wallets(
        &self,
        caller: Caller,
        uri: &Uri,
    ) -> Result<WalletsListed, Refused<ListWallets>> {
        refuse_unknown_parameters(uri, &[])?;
        let owner = caller.owner()?;
        let found =
            within_seconds(&self.pool, async |conn| Ok(wallets::list(conn, owner).await?)).await?;
        let wallets = found.into_iter().map(WalletOut::from).collect();
        Ok(WalletsListed::Ok(Json(WalletList { wallets })))
    }

    /// Get a wallet
    ///
    /// Its `ETag` changes whenever its balance or what is available does: send it back as
    /// `If-Match` with a transfer or a withdrawal that is meant for this state only.
    #[oai(
        path = "/v1/wallets/:wallet_id",
        method = "get",
        operation_id = "get_wallet",
        tag = "ApiTags::Wallets"
    )]
    async fn get_wallet(
        &self,
        caller: Caller,
        /// The id of the wallet.
        wallet_id: Path<Id<Uuid>>,
    ) -> Result<WalletFound, Refused<GetWallet>> {
        let wallet = self.wallet(&caller, wallet_id.0.0).await?;
        let etag = etag(wallet.version);
        Ok(WalletFound::Ok(Json(wallet.into()), etag))
    }

    /// Close a wallet
    ///
    /// It must be empty, with nothing held. It accepts no new orders until it is opened again.
    #[oai(
        path = "/v1/wallets/:wallet_id/close",
        method = "post",
        operation_id = "close_wallet",
        tag = "ApiTags::Wallets"
    )]
    async fn close_wallet(
        &self,
        caller: Caller,
        /// The id of the wallet.
        wallet_id: Path<Id<Uuid>>,
    ) -> Result<WalletFound, Refused<CloseWallet>> {
        let owner = caller.owner()?;
        let wallet = in_transaction(&self.pool, async |conn| {
            let wallet = AccountId(wallet_id.0.0);
            wallets::close(&mut *conn, owner, wallet).await?.map_err(|refusal| match refusal {
                CloseRefusal::NotFound => Problem::new(Code::WalletNotFound),
                CloseRefusal::NotEmpty => Problem::new(Code::WalletNotEmpty),
            })?;
            readable(conn, &caller, wallet).await
        })
        .await?;
        let etag = etag(wallet.version);
        Ok(WalletFound::Ok(Json(wallet.into()), etag))
    }

    /// Get the balance of a wallet at a moment
    ///
    /// By the entries dated until then, that moment included. It is final: the same question gets
    /// the same answer for ever. Holds leave no entries, so this knows nothing of what was
    /// available.
    #[oai(
        path = "/v1/wallets/:wallet_id/balance",
        method = "get",
        operation_id = "get_wallet_balance",
        tag = "ApiTags::Wallets"
    )]
    async fn get_wallet_balance(
        &self,
        caller: Caller,
        uri: &Uri,
        /// The id of the wallet.
        wallet_id: Path<Id<Uuid>>,
        /// The moment (RFC 3339), not in the future; now when absent, by the database's clock.
        at: Query<Option<Moment>>,
    ) -> Result<BalanceFound, Refused<GetWallet>> {
        refuse_unknown_parameters(uri, &["at"])?;
        let at = at.0.map(Moment::until);
        let (wallet, found) = in_transaction(&self.pool, async |conn| {
            let wallet = readable(&mut *conn, &caller, AccountId(wallet_id.0.0)).await?;
            let found = balance_at(conn, &wallet, at).await?;
            let in_the_future = || Problem::parameter("at", "The moment is in the future.");
            Ok((wallet, found.ok_or_else(in_the_future)?))
        })
        .await?;
        Ok(BalanceFound::Ok(Json(WalletBalance::new(&wallet, found))))
    }

    /// List the entries of a wallet
    ///
    /// Each with the balance that it left. Newest first.
    #[oai(
        path = "/v1/wallets/:wallet_id/entries",
        method = "get",
        operation_id = "list_wallet_entries",
        tag = "ApiTags::Wallets"
    )]
    async fn list_wallet_entries(
        &self,
        caller: Caller,
        uri: &Uri,
        /// The id of the wallet.
        wallet_id: Path<Id<Uuid>>,
        /// The most items on a page; 50 when absent.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<EntriesListed, Refused<ListEntries>> {
        refuse_unknown_parameters(uri, &["limit", "cursor"])?;
        let list = format!("list_wallet_entries 1 {}", wallet_id.0.0);
        let before = cursor.0.map(|text| lists::read_cursor::<8>(&text, &list)).transpose()?;
        let before = before.map(i64::from_be_bytes);
        let limit = limit.0.unwrap_or(DEFAULT_LIMIT);
        let found = within_seconds(&self.pool, async |conn| {
            let wallet = readable(&mut *conn, &caller, AccountId(wallet_id.0.0)).await?;
            Ok(wallets::entries(conn, wallet.id, before, limit + 1).await?)
        })
        .await?;
        Ok(EntriesListed::Ok(Json(EntryPage::new(found, limit, &list))))
    }

    /// Get a statement
    ///
    /// The entries of a period as CSV (RFC 4180), oldest first, between a line with the opening and
    /// one with the closing balance. A statement is final: of two that adjoin, the opening of the
    /// second is the closing of the first, and every entry is in exactly one. Cells that a
    /// spreadsheet would take for a formula begin with an apostrophe.
    #[oai(
        path = "/v1/wallets/:wallet_id/statement",
        method = "get",
        operation_id = "get_wallet_statement",
        tag = "ApiTags::Wallets"
    )]
    async fn get_wallet_statement(
        &self,
        caller: Caller,
        uri: &Uri,
        /// The id of the wallet.
        wallet_id: Path<Id<Uuid>>,
        /// From this moment on (RFC 3339).
        from: Query<Moment>,
        /// Before this moment (RFC 3339), which is not in the future; now when absent, by the
        /// database's clock.
        until: Query<Option<Moment>>,
    ) -> Result<StatementMade, Refused<GetWallet>> {
        refuse_unknown_parameters(uri, &["from", "until"])?;
        let from = from.0.boundary();
        let period = (from, until.0.map(Moment::boundary));
        let made = in_transaction(&self.pool, async |conn| {
            let wallet = readable(&mut *conn, &caller, AccountId(wallet_id.0.0)).await?;
            let made = statement(conn, &wallet, period, MAX_STATEMENT_ENTRIES);
            made.await?.map_err(refused_period)
        })
        .await?;
        let csv = statements::to_csv(&made, from);
        let name = format!("attachment; filename=\"statement-{}.csv\"", wallet_id.0.0);
        Ok(StatementMade::Ok(Csv(csv), name))
    }
}

impl WalletsApi {
    async fn wallet(&self, caller: &Caller, id: Uuid) -> Result<Wallet, Problem> {
        within_seconds(&self.pool, async |conn| readable(conn, caller, AccountId(id)).await).await
    }
}

fn refused_period(refusal: PeriodRefusal) -> Problem {
    match refusal {
        PeriodRefusal::NotOver => Problem::parameter("until", "The moment is in the future."),
        PeriodRefusal::Backwards => Problem::parameter("from", "The period ends before it begins."),
        PeriodRefusal::TooLong => {
            Problem::parameter("from", "The period has too many entries, choose a shorter one.")
        }
    }
}

/// The wallet, if the caller may read it; otherwise there is none.
async fn readable(
    conn: &mut PgConnection,
    caller: &Caller,
    id: AccountId,
) -> Result<Wallet, Problem> {
    let found = wallets::find(conn, id).await?;
    found
        .filter(|wallet| caller.may_read(wallet.owner))
        .ok_or_else(|| Problem::new(Code::WalletNotFound))
}

#[derive(ApiResponse)]
enum WalletOpened {
    /// The wallet was made.
    #[oai(status = 201)]
    Created(
        Json<WalletOut>,
        /// The version, for `If-Match`.
        #[oai(header = "ETag")]
        String,
        /// The path at which to read it.
        #[oai(header = "Location")]
        String,
    ),
    /// There was such a wallet, and it is open.
    #[oai(status = 200)]
    Known(
        Json<WalletOut>,
        /// The version, for `If-Match`.
        #[oai(header = "ETag")]
        String,
    ),
}

#[derive(ApiResponse)]
enum WalletsListed {
    /// The wallets.
    #[oai(status = 200)]
    Ok(Json<WalletList>),
}

#[derive(ApiResponse)]
enum WalletFound {
    /// The wallet.
    #[oai(status = 200)]
    Ok(
        Json<WalletOut>,
        /// The version, for `If-Match`.
        #[oai(header = "ETag")]
        String,
    ),
}

#[derive(ApiResponse)]
enum BalanceFound {
    /// The balance.
    #[oai(status = 200)]
    Ok(Json<WalletBalance>),
}

#[derive(ApiResponse)]
enum EntriesListed {
    /// The page.
    #[oai(status = 200)]
    Ok(Json<EntryPage>),
}

#[derive(ApiResponse)]
enum StatementMade {
    /// The statement.
    #[oai(status = 200)]
    Ok(
        Csv,
        /// Names the file that it is.
        #[oai(header = "Content-Disposition")]
        String,
    ),
}
