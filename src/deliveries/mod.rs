//! Deliveries: our own webhooks, sent to endpoints that others run, at URLs that others choose. An
//! *endpoint* is an address that somebody wants to be told at, a *delivery* one event for one
//! endpoint, an *attempt* one HTTP request of it.
//!
//! What is stored:
//!
//! - [`endpoints`]: who wants to hear of what, and the secrets that they know us by.
//! - [`plan`]: makes the deliveries of new events.
//! - [`outgoing`]: what an attempt needs, and what is kept of it.
//! - [`health`]: which endpoints are left alone, and for how long.
//! - [`reading`]: deliveries and attempts, for those who look at them.
//! - [`replaying`]: deliveries that somebody asks for again.
//! - [`pruning`]: drops what ended long ago.
//!
//! What is sent:
//!
//! - [`target`]: a URL that a webhook may be sent to, and the guard that vets its addresses.
//! - [`address_rules`]: which addresses are vetted.
//! - [`names`]: names to addresses.
//! - [`own_headers`]: the headers that an endpoint's owner may add.
//! - [`client`]: one delivery to one endpoint: its headers, its signatures.
//! - [`transport`]: one POST, with limits on everything, over connections that are kept.
//! - [`attempt`]: the record of what came of a POST.
//! - [`retry`]: what that means, and how long to wait until the next.
//! - [`settings`]: where webhooks may be sent.
//!
//! What a caller does, in this order: [check](target::Guard::check) the URL when an endpoint is
//! made or changed; with no database transaction open, [deliver](client::Client::deliver), which
//! vets the addresses again; record every [`Attempt`] of the [`Sent`]; ask its
//! [outcome](retry::outcome) and, after a failure, the [schedule](retry::RetrySchedule::wait).
//!
//! # Guarantees
//!
//! - A connection is made to, or kept with, no address but those that were vetted for this very
//!   delivery: a name that meanwhile resolves to something else changes nothing.
//! - Redirects are answers like any other, and not followed; proxies of the environment are not
//!   asked.
//! - No receiver holds a delivery beyond its deadline, or makes us read more than a bounded number
//!   of bytes, whatever it sends and however slowly.
//! - Nothing is sent twice without a record of both: see [`transport`].
//! - G6: the `webhook-id` is the same in all attempts.
//!
//! Deliberately absent: jobs, and who may have an endpoint. Answers are never decompressed.

pub mod address_rules;
mod answer;
pub mod attempt;
pub mod client;
mod connection;
pub mod endpoints;
pub mod health;
pub mod names;
pub mod outgoing;
pub mod own_headers;
mod planning;
mod pool;
pub mod pruning;
pub mod reading;
pub mod replaying;
pub mod retry;
pub mod settings;
pub mod target;
pub mod transport;

pub use self::attempt::{Attempt, AttemptError, Sent};
pub use self::client::{Client, Delivery};
pub use self::own_headers::OwnHeaders;
pub use self::planning::{Announced, Planned, count_listening_to_all, plan};
pub use self::retry::{Outcome, RetrySchedule};
pub use self::target::{Guard, Reach, TargetError, TargetUrl};
pub use self::transport::{Limits, Transport};
