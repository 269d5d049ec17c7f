//! Pages about what others are told: endpoints and the deliveries to them.
//!
//! - [`endpoints`], [`endpoint`]: who is told of what, and how that goes. [`secret`]: a new one,
//!   shown once.
//! - [`deliveries`], [`delivery`]: what was sent, and each attempt. [`replays`]: sending again.

pub(super) mod deliveries;
pub(super) mod delivery;
pub(super) mod endpoint;
pub(super) mod endpoints;
pub(super) mod replays;
pub(super) mod secret;

use crate::http::wire::problem::Problem;
use crate::operations::endpoints::EndpointId;
use crate::pages::refusals::Refusal;
use crate::pages::visit::Visit;

/// The endpoint that the path names.
fn endpoint_of(visit: &Visit) -> Result<EndpointId, Refusal> {
    Ok(EndpointId(visit.parsed("id")?))
}

/// The state of a delivery in a word, and the class of that.
fn delivery_state(state: &str) -> (&'static str, &'static str) {
    match state {
        "delivered" => ("Delivered", "ok"),
        "failed" => ("Failed", "bad"),
        _ => ("Pending", "run"),
    }
}

/// Refuses as the API does.
fn refused<E: Into<Problem>>(error: E) -> Refusal {
    Refusal(error.into())
}
