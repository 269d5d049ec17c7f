//! A visit: one request for a page or an action, from whoever was let in.
//!
//! - Here: the visit as handlers see it.
//! - [`pairs`]: queries and forms. [`cookies`]: cookies. [`answer`]: what a handler answers.
//! - [`download`]: lists as files. [`receiving`]: the steps around each handler.

pub(super) mod answer;
pub(super) mod cookies;
pub(super) mod download;
pub(super) mod pairs;
pub(super) mod receiving;

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use poem::http::HeaderMap;
use sqlx::Postgres;
use sqlx::pool::PoolConnection;

pub(super) use self::answer::Answer;
pub(super) use self::pairs::{Pairs, segment};
use super::access::{Right, Visitor};
use super::pulse::Pulse;
use super::refusals::Refusal;
use super::site::Site;
use crate::http::edge::reads::DataAge;
use crate::http::wire::problem::{Code, Problem};
use crate::operations::{Actor, Identity};

/// One request, from whoever was let in.
pub(super) struct Visit {
    /// The services behind the pages.
    pub(super) site: Arc<Site>,
    /// The visitor.
    pub(super) visitor: Visitor,
    name: String,
    /// The parameters of the URL.
    pub(super) query: Pairs,
    /// The fields of the form; none but for an action.
    pub(super) form: Pairs,
    path: String,
    parameters: Vec<(&'static str, String)>,
    headers: HeaderMap,
    forms_token: String,
    pulse: Option<Arc<Pulse>>,
    reading: Mutex<Reading>,
}

/// The places where the lists of a visit are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reading {
    /// The primary alone.
    Primary,
    /// A standby, if one is of use.
    Either,
    /// It was a standby, with what was of this age at most.
    Replica(DataAge),
}

impl Visit {
    /// A connection to the database.
    ///
    /// # Errors
    ///
    /// [`Code::Unavailable`].
    pub(super) async fn connect(&self) -> Result<PoolConnection<Postgres>, Refusal> {
        Ok(self.site.pool.acquire().await?)
    }

    /// A connection for a list, which may be a little behind: to a standby, if one is of use. The
    /// frame says so then. After an action everybody looks for what it did, so for a while nothing
    /// is behind.
    ///
    /// # Errors
    ///
    /// [`Code::Unavailable`].
    pub(super) async fn connect_to_list(&self) -> Result<PoolConnection<Postgres>, Refusal> {
        if self.reading() != Reading::Primary
            && let Some((conn, age)) = self.site.reads.replica().await
        {
            self.set_reading(Reading::Replica(age));
            return Ok(conn);
        }
        self.connect().await
    }

    /// True if lists may come from a standby.
    fn may_be_behind(&self) -> bool {
        self.reading() == Reading::Either && self.site.reads.caught_up_after().is_some()
    }

    /// From now on, lists are read up to the moment, too.
    fn read_primary(&self) {
        self.set_reading(Reading::Primary);
    }

    fn reading(&self) -> Reading {
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_reading(&self, reading: Reading) {
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = reading;
    }

    /// The greatest age of what was read from a standby; none when nothing was.
    fn age(&self) -> Option<DataAge> {
        match self.reading() {
            Reading::Replica(age) => Some(age),
            Reading::Primary | Reading::Either => None,
        }
    }

    /// A parameter of the path, as text.
    pub(super) fn parameter(&self, name: &str) -> &str {
        let found = self.parameters.iter().find(|(found, _)| *found == name);
        found.map_or("", |(_, value)| value)
    }

    /// A parameter of the path.
    ///
    /// # Errors
    ///
    /// [`Code::NotFound`] when it is none: nothing has such a name.
    pub(super) fn parsed<T: FromStr>(&self, name: &str) -> Result<T, Refusal> {
        self.parameter(name).parse().map_err(|_| Problem::new(Code::NotFound).into())
    }

    /// The visitor, as changes are kept with.
    pub(super) fn identity(&self) -> Identity {
        self.visitor.identity()
    }

    /// The visitor with the reason that the form gives.
    ///
    /// # Errors
    ///
    /// [`Code::UnacceptableValues`] without a reason.
    pub(super) fn actor(&self) -> Result<Actor, Refusal> {
        let reason = self.form.one("reason").unwrap_or_default();
        let reason = reason.parse().map_err(|error: crate::operations::InvalidReason| {
            Problem::new(Code::UnacceptableValues).detail(format!("The form is refused: {error}."))
        })?;
        Ok(Actor { identity: self.identity(), reason })
    }

    /// Passes visitors with this right, where it depends on what is asked for.
    ///
    /// # Errors
    ///
    /// [`Code::Forbidden`].
    pub(super) fn require(&self, right: Right) -> Result<(), Refusal> {
        Ok(self.visitor.require(right)?)
    }

    /// The page that an action was called from, with a sentence about what was done.
    pub(super) fn done(&self, notice: impl Into<String>) -> Answer {
        let path = self.form.one("back").filter(|path| is_page(path)).unwrap_or("/ui");
        Answer::Elsewhere { path: path.to_owned(), notice: Some(notice.into()) }
    }
}

/// Tells if the path is one of our pages, and no other site's.
pub(super) fn is_page(path: &str) -> bool {
    let rest = path.strip_prefix("/ui");
    let is_below = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
    is_below && path.is_ascii() && !path.contains(|c: char| c.is_ascii_control() || c == '\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pages_are_gone_back_to() {
        for path in ["/ui", "/ui?span=1h", "/ui/jobs/1"] {
            assert!(is_page(path), "{path}");
        }
        for path in ["", "/", "//evil.example", "https://evil.example/ui", "/uix", "/ui/\r\nx: y"] {
            assert!(!is_page(path), "{path}");
        }
    }
}
