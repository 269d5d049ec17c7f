//! The overview: how things stand, in ten seconds.
//!
//! - Here: the operation.
//! - `bodies`: the figures. `attention`: what of them needs a person.

mod attention;
mod bodies;

use poem_openapi::{ApiResponse, OpenApi};
use sqlx::PgPool;

use self::bodies::OverviewOut;
use super::ApiTags;
use crate::http::edge::caller::{self, Caller, Right};
use crate::http::edge::database::within_seconds;
use crate::http::wire::payload::Json;
use crate::http::wire::problem::Code;
use crate::http::wire::refused::{Refusals, Refused};
use crate::operations::overview;

/// The API of the overview.
#[derive(Clone)]
pub struct OverviewApi {
    /// The database to read it from.
    pub pool: PgPool,
}

#[OpenApi]
impl OverviewApi {
    /// Get the overview
    ///
    /// The figures of the whole system at one moment, and what of them needs a person; for viewers
    /// and above. Counts stop at a bound, and a pace is that of the newest rows, so it can be asked
    /// for every second, whatever the history weighs.
    #[oai(
        path = "/v1/overview",
        method = "get",
        operation_id = "get_overview",
        tag = "ApiTags::System"
    )]
    async fn get_overview(&self, caller: Caller) -> Result<Read, Refused<GetOverview>> {
        caller.require(Right::Read)?;
        let overview =
            within_seconds(&self.pool, async |conn| Ok(overview::read(conn).await?)).await?;
        Ok(Read::Ok(Json(overview.into())))
    }
}

#[derive(ApiResponse)]
enum Read {
    /// The overview.
    #[oai(status = 200)]
    Ok(Json<OverviewOut>),
}

/// The refusals of `get_overview`.
#[derive(Debug)]
struct GetOverview;

impl Refusals for GetOverview {
    const CODES: &'static [&'static [Code]] = &[caller::REFUSALS, &[Code::Forbidden]];
}
