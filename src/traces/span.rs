//! One span, as it is kept.

use std::time::Duration;

use time::OffsetDateTime;

/// The length to which a name or a value is cut, in characters.
pub(super) const MAX_CHARS: usize = 512;
/// The most attributes of a span, and of a link.
pub(super) const MAX_ATTRIBUTES: usize = 48;
/// The most links of a span.
pub(super) const MAX_LINKS: usize = 16;

/// A span.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Span {
    /// 16 hexadecimal digits.
    pub id: String,
    /// The span that this one is a part of; none for the first of a trace.
    pub parent: Option<String>,
    /// The name.
    pub name: String,
    /// The process that made it, as `service.name` says.
    pub service: String,
    /// The part that it plays.
    pub kind: SpanKind,
    /// The moment at which it began.
    pub started_at: OffsetDateTime,
    /// The time until its end.
    pub duration: Duration,
    /// The reason that it failed, which may be empty; none if it did not.
    pub failure: Option<String>,
    /// Names and values, in the order in which they came.
    pub attributes: Vec<(String, String)>,
    /// Other spans that it has to do with.
    pub links: Vec<Link>,
}

/// The part that a span plays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpanKind {
    /// A step inside of a process.
    Internal,
    /// The answer to a request.
    Server,
    /// A request to somebody else.
    Client,
    /// A job that is enqueued.
    Producer,
    /// A job that is run.
    Consumer,
}

/// Another span that a span has to do with, of the same trace or another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// The trace, as 32 hexadecimal digits.
    pub trace: String,
    /// The span, as 16 hexadecimal digits.
    pub span: String,
    /// Names and values.
    pub attributes: Vec<(String, String)>,
}

impl Span {
    /// The value of this attribute, if it has it.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The moment at which it ended.
    #[must_use]
    pub fn ended_at(&self) -> OffsetDateTime {
        self.started_at + self.duration
    }
}

impl SpanKind {
    /// The name, in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}
