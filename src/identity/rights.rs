//! Rights beyond one's own money, and the lowest role that has each: the one table that the API and
//! the pages ask.
//!
//! | right | viewer | operator | admin |
//! |---|---|---|---|
//! | read | yes | yes | yes |
//! | operate | | yes | yes |
//! | decide | | | yes |
//!
//! The command line asks nobody: whoever runs it has the password of the database.

use super::Role;

/// A right that an operation needs of those who are not the owners of what it is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Right {
    /// To see everything but what is hidden.
    Read,
    /// To act on jobs, queues, schedules, workers and endpoints: on what moves no money.
    Operate,
    /// To decide over money that is stuck, to see what is hidden, and to change who may do what.
    Decide,
}

impl Right {
    /// The rights there are.
    pub const ALL: [Self; 3] = [Self::Read, Self::Operate, Self::Decide];

    /// The lowest role that has it; so have those above.
    #[must_use]
    pub const fn role(self) -> Role {
        match self {
            Self::Read => Role::Viewer,
            Self::Operate => Role::Operator,
            Self::Decide => Role::Admin,
        }
    }
}

impl Role {
    /// True if the role has this right.
    #[must_use]
    pub fn may(self, right: Right) -> bool {
        self >= right.role()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_has_the_rights_of_those_below_and_one_more() {
        let rights = |role: Role| Right::ALL.into_iter().filter(|it| role.may(*it)).count();
        assert_eq!(Role::ALL.map(rights), [0, 1, 2, 3]);
    }
}
