//! Access to the pages: who comes in, and what he may do there.
//!
//! - Here: visitors, their rights, and letting them in.
//! - [`forms`]: forms that are sent to us are ours, and no other site's.
//! - [`sign_in`]: the page that asks who one is, and signing out.
//!
//! Rights are checked where a page or an action is routed ([`Right`] stands in the table of
//! `pages::routes`), and in a handler where they depend on what is asked for.

pub(super) mod forms;
pub(super) mod sign_in;

use std::net::{IpAddr, Ipv4Addr};

use poem::Request;
use poem::http::HeaderMap;
use sqlx::PgConnection;

use super::refusals::Refusal;
use super::site::Site;
use super::visit::cookies;
use crate::http::edge::caller::{Caller, Principal};
use crate::http::edge::client_address::ClientAddress;
use crate::http::edge::rate_limits::LimitClass;
use crate::http::wire::problem::{Code, Problem};
use crate::http::wire::request_id::RequestId;
use crate::operations::Identity;
pub(super) use crate::operations::users::Right;
use crate::operations::users::{self, UserRef};

/// The way into the pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Whoever is answered at all may do everything: to try things out, on one's own machine.
    Open,
    /// By signing in.
    SignIn,
}

/// Somebody who was let in.
#[derive(Clone, Debug)]
pub(super) enum Visitor {
    /// Somebody on this machine, who was not asked.
    Local(IpAddr),
    /// A known caller.
    Known(Caller),
}

impl Visitor {
    /// Lets the sender of this request in.
    ///
    /// # Errors
    ///
    /// [`Code::Unauthenticated`] for a stranger, [`Code::Forbidden`] for who may not see the pages
    /// and for another site's request, [`Code::RateLimited`], [`Code::Unavailable`].
    pub(super) async fn admit(site: &Site, request: &Request) -> Result<Self, Problem> {
        refuse_other_sites(request.headers())?;
        let unknown = ClientAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let address = request.data::<ClientAddress>().copied().unwrap_or(unknown);
        if site.entry == Entry::Open {
            return Ok(Self::Local(address.0));
        }
        let credential = cookies::find(request.headers(), cookies::SESSION);
        let credential = credential.ok_or_else(|| Problem::new(Code::Unauthenticated))?;
        let caller = Caller::of_credential(&site.sign_ins, credential, address).await?;
        site.rate_limits.admit(LimitClass::Api, &caller.subject()).await?;
        caller.require(Right::Read)?;
        Ok(Self::Known(caller))
    }

    /// True if the visitor has this right.
    pub(super) fn may(&self, right: Right) -> bool {
        match self {
            Self::Local(_) => true,
            Self::Known(caller) => caller.role.may(right),
        }
    }

    /// Passes visitors with this right.
    ///
    /// # Errors
    ///
    /// [`Code::Forbidden`].
    pub(super) fn require(&self, right: Right) -> Result<(), Problem> {
        match self {
            Self::Local(_) => Ok(()),
            Self::Known(caller) => caller.require(right),
        }
    }

    /// The visitor, as changes are kept with.
    pub(super) fn identity(&self) -> Identity {
        match self {
            Self::Known(caller) => (*caller).into(),
            Self::Local(address) => {
                let request_id = RequestId::current().map(|id| id.as_str().to_owned());
                Identity::local_page().by_request(*address, request_id)
            }
        }
    }

    /// The visitor in words, to be shown beside the way out.
    pub(super) async fn name(&self, conn: &mut PgConnection) -> Result<String, Refusal> {
        let Self::Known(caller) = self else { return Ok("this machine".to_owned()) };
        match caller.principal {
            Principal::ApiKey(key) => Ok(format!("API key {key}")),
            Principal::User { user, .. } => {
                let found = users::find(conn, &UserRef::Id(user)).await.map_err(Problem::from)?;
                Ok(found.map_or_else(|| user.to_string(), |user| user.email))
            }
        }
    }
}

/// Another site may lead here by a link, and in no other way: it must not so much as make us work.
/// Browsers say truly which site a request is from; programs do not say anything.
fn refuse_other_sites(headers: &HeaderMap) -> Result<(), Problem> {
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match (said("sec-fetch-site"), said("sec-fetch-mode")) {
        (None | Some("same-origin" | "none"), _) | (_, Some("navigate")) => Ok(()),
        _ => Err(Problem::new(Code::OriginNotAllowed)),
    }
}

/// Tells if the browser kept the cookies back, because a link on another site led here: asking
/// again from here brings them along.
pub(super) fn came_by_foreign_link(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site");
    site.is_some_and(|site| site == "cross-site" || site == "same-site")
}
