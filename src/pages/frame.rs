//! The frame around each page: the title, the links, the visitor, the theme, and what every form
//! needs.

use std::sync::Arc;

use poem::http::HeaderMap;
use time::OffsetDateTime;

use super::access::{Right, Visitor};
use super::assets;
use super::navigation::{Group, NAVIGATION};
use super::pulse::{Badge, Pulse};
use super::visit::cookies;
use crate::http::edge::reads::DataAge;

/// The frame around a page, as templates see it.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// The title of the page.
    pub(super) title: String,
    /// The path of the link that the page belongs to.
    pub(super) place: &'static str,
    /// The path and the query of the page.
    pub(super) here: String,
    /// The visitor, with a name; none on pages for strangers, which have no links.
    pub(super) visitor: Option<(String, Visitor)>,
    /// A sentence about what was just done.
    pub(super) notice: Option<String>,
    /// The figures beside the links; none while the database is away.
    pub(super) pulse: Option<Arc<Pulse>>,
    /// The greatest age of what was read from a standby.
    pub(super) age: Option<DataAge>,
    /// The token that each form carries.
    pub(super) token: String,
    /// `light` or `dark`; empty while the system decides.
    pub(super) theme: &'static str,
}

impl Frame {
    /// A frame for strangers.
    pub(super) fn bare(title: &str, headers: &HeaderMap, token: String) -> Self {
        Self {
            title: title.to_owned(),
            place: "",
            here: String::new(),
            visitor: None,
            notice: None,
            pulse: None,
            age: None,
            token,
            theme: theme(headers),
        }
    }

    /// The groups of links.
    pub(super) fn groups(&self) -> &'static [Group] {
        &NAVIGATION
    }

    /// The figure beside a link.
    pub(super) fn badge(&self, path: &str) -> Option<Badge> {
        self.pulse.as_ref().and_then(|pulse| pulse.badge(path))
    }

    /// The path of an asset.
    pub(super) fn asset(&self, name: &str) -> &'static str {
        assets::path(name)
    }

    /// The version of this program.
    pub(super) fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// The present moment: by the database's clock, where that is known.
    pub(super) fn now(&self) -> OffsetDateTime {
        self.pulse.as_ref().map_or_else(OffsetDateTime::now_utc, |pulse| pulse.now())
    }

    /// The name of the visitor.
    pub(super) fn who(&self) -> &str {
        self.visitor.as_ref().map_or("", |(name, _)| name)
    }

    /// True if the visitor may act on jobs, queues, schedules and workers.
    pub(super) fn may_operate(&self) -> bool {
        self.may(Right::Operate)
    }

    /// True if the visitor may decide over money that is stuck.
    pub(super) fn may_decide(&self) -> bool {
        self.may(Right::Decide)
    }

    fn may(&self, right: Right) -> bool {
        self.visitor.as_ref().is_some_and(|(_, visitor)| visitor.may(right))
    }

    /// True if the visitor has signed in, and can sign out.
    pub(super) fn has_signed_in(&self) -> bool {
        matches!(self.visitor, Some((_, Visitor::Known(_))))
    }
}

/// The theme that the visitor has chosen.
fn theme(headers: &HeaderMap) -> &'static str {
    match cookies::find(headers, cookies::THEME) {
        Some("light") => "light",
        Some("dark") => "dark",
        _ => "",
    }
}
