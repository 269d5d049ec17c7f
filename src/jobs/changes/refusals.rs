//! The reasons that a job is not changed.

use crate::jobs::dead_letters;
use crate::queue::operate::interventions;

/// The reason why a job was not changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JobRefusal {
    /// The job's state does not allow it.
    #[error(transparent)]
    State(#[from] interventions::InterventionRefusal),
    /// The order or transaction that the job is about does not allow it.
    #[error(transparent)]
    Money(#[from] dead_letters::DecisionRefusal),
    /// A job about money is not cancelled: it can be discarded and then written off.
    #[error("it is not cancelled, as what it is about would wait for ever")]
    MoneyNotCancelled,
    /// A job about money is not edited.
    #[error("its arguments name what it is about, and are not changed")]
    MoneyNotEdited,
    /// The job had ended before it could be cancelled.
    #[error("has ended before")]
    Ended,
    /// The job is not discarded, so there is nothing to decide.
    #[error("it is not discarded")]
    NotDiscarded,
    /// The job carries out a bulk operation.
    #[error("it carries out a bulk operation; cancel that instead")]
    BulkOperation,
}

/// A sort of [`JobRefusal`], for callers who treat some of them alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefusalClass {
    /// There is no such job.
    NotFound,
    /// The job has moved on by itself, or somebody else has changed it.
    MovedOn,
    /// A rule forbids it.
    Forbidden,
}

impl JobRefusal {
    /// No job has this number.
    pub const NOT_FOUND: Self = Self::State(interventions::InterventionRefusal::NotFound);

    /// The stable name, for programs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::State(refusal) => refusal.code(),
            Self::Money(refusal) => refusal.code(),
            Self::MoneyNotCancelled | Self::MoneyNotEdited => "about-money",
            Self::Ended => "finished",
            Self::NotDiscarded => "not-discarded",
            Self::BulkOperation => "bulk-operation",
        }
    }

    /// The sort of refusal.
    #[must_use]
    pub const fn class(self) -> RefusalClass {
        use dead_letters::DecisionRefusal as Money;
        use interventions::InterventionRefusal as State;
        match self {
            Self::State(State::NotFound) | Self::Money(Money::NotFound) => RefusalClass::NotFound,
            Self::State(
                State::Running
                | State::Completed
                | State::Cancelled
                | State::Discarded
                | State::Decided
                | State::Changed,
            )
            | Self::Money(Money::AlreadyDecided)
            | Self::NotDiscarded => RefusalClass::MovedOn,
            Self::State(State::Held | State::Redriven | State::Exhausted | State::Sealed)
            | Self::Money(Money::NothingToRedrive)
            | Self::MoneyNotCancelled
            | Self::MoneyNotEdited
            | Self::Ended
            | Self::BulkOperation => RefusalClass::Forbidden,
        }
    }
}
