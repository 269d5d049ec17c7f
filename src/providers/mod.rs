//! Providers that send webhooks in a shape of their own: which of them are believed, and what their
//! events mean.
//!
//! - [`settings`]: the file that describes the sources, one for each provider or account with one.
//! - [`signatures`]: whether a delivery is by its provider, for each scheme. [`adyen`] is the one
//!   that signs fields instead of bytes.
//! - [`mapping`]: the transaction that an event stands for, or that it is none of ours.
//! - [`document`]: places in a JSON body.
//!
//! Guaranteed: nothing is read out of what was not signed. Whatever a mapping reads is in the body,
//! never in a header, as headers are under no signature; and of Adyen's events, which sign eight of
//! their fields, it can read these eight and no others. Amounts are read from the text that was
//! sent, and never pass through a float.
//!
//! Deliberately absent: HTTP and the database. `http::api::webhook_sources` receives.

pub mod adyen;
pub mod document;
pub mod mapping;
pub mod settings;
pub mod signatures;

use std::time::Duration;

pub use self::mapping::{Mapped, Mapping, MappingError};
pub use self::settings::{Sources, SourcesError, is_source_name};
pub use self::signatures::{SourceVerifier, Unverified};

/// One provider, or one account with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// The name, in the path and in figures.
    pub name: String,
    /// Believes a delivery, or not.
    pub verifier: SourceVerifier,
    /// The transaction that an event stands for.
    pub mapping: Mapping,
    /// The most verified deliveries in a time, as text in the grammar of rate limits.
    pub limit: Option<String>,
    /// The time without a transaction after which somebody should look.
    pub silent_after: Option<Duration>,
    /// True if a conflict is answered 2xx, false if 409; none to do as all others.
    pub accepts_conflicts: Option<bool>,
}
