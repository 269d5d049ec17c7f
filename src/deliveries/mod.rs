//! Deliveries: webhooks that we send. An *endpoint* is an address that somebody wants to be told
//! at, a *delivery* one event for one endpoint, an *attempt* one HTTP request of it.
//!
//! - [`endpoints`]: who wants to hear of what, and the secrets that they know us by.
//! - [`plan`]: makes the deliveries of new events.
//! - [`outgoing`]: what an attempt needs, and what is kept of it.
//! - [`health`]: which endpoints are left alone, and for how long.
//!
//! Deliberately absent: when to try, which is for the job that delivers.

pub mod endpoints;
pub mod health;
pub mod outgoing;
mod planning;

pub use planning::{Announced, Planned, count_listening_to_all, plan};
