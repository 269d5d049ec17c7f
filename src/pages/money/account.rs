//! One account: its balance, what of it is held, and its entries.

use std::sync::Arc;

use askama::Template;

use super::holders::{self, EntryRow};
use crate::http::wire::problem::Problem;
use crate::operations::ledger::{self, Account, AccountId};
use crate::pages::filters::Pager;
use crate::pages::frame::Frame;
use crate::pages::refusals::{Refusal, not_found};
use crate::pages::visit::{Answer, Visit};
use crate::pages::words;

/// The entries of one page.
const SHOWN: u16 = 50;

#[derive(Template)]
#[template(path = "account.html", config = "src/pages/askama.toml")]
struct AccountPage {
    frame: Frame,
    account: Account,
    /// The last entry that is in an archive, and the balance that it left.
    carried_forward: Option<(String, String)>,
    kind: String,
    name: String,
    entries: String,
    rows: Vec<EntryRow>,
    pager: Pager,
}

/// The page of an account.
pub(in crate::pages) async fn show(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let query = visit.query.only(&["before"])?;
    let before = query.parsed("before", "must be the number of an entry")?;
    let id = AccountId(visit.parsed("id")?);
    let mut conn = visit.connect().await?;
    let found = ledger::find(&mut conn, id).await.map_err(Problem::from)?;
    let account = found.ok_or_else(|| not_found("account of this id"))?;
    let page = ledger::entries(&mut conn, id, before, SHOWN).await.map_err(Problem::from)?;
    let carried = ledger::carried_forward(&mut conn, &account).await.map_err(Problem::from)?;
    let name = holders::name(&mut conn, &account).await?;
    let path = format!("/ui/ledger/{id}");
    Answer::page(&AccountPage {
        frame: visit.frame(&name),
        carried_forward: carried
            .map(|(entries, balance)| (words::count(entries), balance.amount_text())),
        kind: words::capital(account.kind.as_str()),
        entries: words::count(account.entries),
        rows: holders::entry_rows(&mut conn, page.rows).await?,
        pager: Pager {
            newest: before.map(|_| path.clone()),
            older: page.next.map(|next| format!("{path}?before={next}")),
        },
        name,
        account,
    })
}
