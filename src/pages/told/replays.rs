//! Replays: sending an endpoint many deliveries again, counted before it is confirmed.

use std::sync::Arc;

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{endpoint_of, refused};
use crate::http::wire::problem::Problem;
use crate::operations::database_now;
use crate::operations::endpoints::deliveries::{self, Replay};
use crate::operations::endpoints::{EndpointId, Scope};
use crate::pages::filters;
use crate::pages::refusals::Refusal;
use crate::pages::visit::{Answer, Pairs, Visit};
use crate::pages::words;

/// A replay that a form asks for, and has not confirmed.
pub(super) struct Asked {
    /// `failed` or `since`.
    pub(super) choice: &'static str,
    /// The moment, of a replay since one.
    pub(super) since: Option<OffsetDateTime>,
    /// The number of deliveries.
    pub(super) count: String,
    pub(super) is_none: bool,
}

/// The replay that the query of an endpoint's page asks for, if it asks for one.
pub(super) async fn asked(
    visit: &Visit,
    conn: &mut PgConnection,
    id: EndpointId,
) -> Result<Option<Asked>, Refusal> {
    let now = database_now(&mut *conn).await?;
    let Some(replay) = parse(&visit.query, now)? else { return Ok(None) };
    let counted = deliveries::count_replay(conn, Scope::All, id, replay).await.map_err(refused)?;
    let count = words::count(counted.count);
    let (choice, since) = match replay {
        Replay::Failed => ("failed", None),
        Replay::Since(since) => ("since", Some(since)),
    };
    Ok(Some(Asked {
        choice,
        since,
        count: if counted.is_capped { format!("{count}+") } else { count },
        is_none: counted.count == 0,
    }))
}

fn parse(pairs: &Pairs, now: OffsetDateTime) -> Result<Option<Replay>, Problem> {
    match pairs.one("replay") {
        None => Ok(None),
        Some("failed") => Ok(Some(Replay::Failed)),
        Some("since") => {
            let since = filters::moment(pairs, "since", now)?;
            let missing = || Problem::parameter("since", "must be a moment, or a time as 2h");
            Ok(Some(Replay::Since(since.ok_or_else(missing)?)))
        }
        Some(_) => Err(Problem::parameter("replay", "must be failed or since")),
    }
}

/// Begins one.
pub(in crate::pages) async fn begin(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let id = endpoint_of(&visit)?;
    let now = database_now(&mut *visit.connect().await?).await?;
    let missing = || Problem::parameter("replay", "must be failed or since");
    let replay = parse(&visit.form, now)?.ok_or_else(missing)?;
    let (pool, by) = (&visit.site.pool, visit.identity());
    let job = deliveries::replay(pool, Scope::All, id, replay, &by).await.map_err(refused)?;
    visit.site.wake_workers().await;
    Ok(visit.done(format!("The replay has begun as job {job}, which tells how far it is.")))
}
