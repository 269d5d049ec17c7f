//! A setting, as the table has it: how it is read, shown and reloaded.

use super::masking::Shown;

/// Settings that belong together.
#[derive(Debug)]
pub(crate) struct Group {
    /// The heading.
    pub(crate) title: &'static str,
    /// In order.
    pub(crate) settings: &'static [Setting],
}

/// A setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// The name of its variable.
    pub(crate) name: &'static str,
    /// The way in which it is read.
    pub(crate) reading: Reading,
    /// The part of its value that may be shown.
    pub(crate) shown: Shown,
    /// Words on it: all there are, or what its flag's help leaves out.
    pub(crate) note: &'static str,
    /// The processes in which SIGHUP takes up a new value.
    pub(crate) reloaded: Reloaded,
}

/// The way in which a setting is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reading {
    /// As a flag's variable.
    Flag,
    /// As the name of a file that holds the value of this one.
    FileOf(&'static str),
    /// By its name alone.
    Named {
        /// The values that it may have.
        kind: Kind,
        /// The value that holds when it is not set; empty if that needs words.
        default: &'static str,
    },
}

/// The values of a setting that is no flag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Anything, or what its reader checks.
    Text,
    /// A whole number from 0.
    Number,
    /// A number from 0 to 1.
    Share,
    /// true or false.
    Switch,
    /// One of these.
    Choice(&'static [&'static str]),
}

/// The processes in which SIGHUP takes up a new value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reloaded {
    /// None: a restart is needed.
    Nowhere,
    /// `app serve`.
    Serve,
    /// `app serve` and `app work`.
    ServeAndWork,
}

impl Kind {
    /// The reason that the value cannot be used, in words that follow "it is"; none if it can.
    pub(crate) fn fault(self, value: &str) -> Option<String> {
        // The standard: an empty variable is an unset one.
        let value = value.trim();
        let is_fine = value.is_empty()
            || match self {
                Self::Text => true,
                Self::Number => value.parse::<u64>().is_ok(),
                Self::Share => value.parse::<f64>().is_ok_and(|share| (0.0..=1.0).contains(&share)),
                Self::Switch => ["true", "false"].contains(&value.to_lowercase().as_str()),
                Self::Choice(choices) => choices.contains(&value),
            };
        let expected = match self {
            Self::Text => "text".to_owned(),
            Self::Number => "a whole number".to_owned(),
            Self::Share => "a number from 0 to 1".to_owned(),
            Self::Switch => "true or false".to_owned(),
            Self::Choice(choices) => choices.join(", "),
        };
        (!is_fine).then(|| format!("expected {expected}"))
    }
}

pub(super) const fn flag(name: &'static str) -> Setting {
    let (reading, shown) = (Reading::Flag, Shown::Whole);
    Setting { name, reading, shown, note: "", reloaded: Reloaded::Nowhere }
}

pub(super) const fn file_of(name: &'static str, value: &'static str) -> Setting {
    let note = "A file that holds it instead.";
    Setting { reading: Reading::FileOf(value), note, ..flag(name) }
}

pub(super) const fn named(name: &'static str, kind: Kind, default: &'static str) -> Setting {
    Setting { reading: Reading::Named { kind, default }, ..flag(name) }
}

pub(super) const fn number(name: &'static str) -> Setting {
    named(name, Kind::Number, "")
}

impl Setting {
    pub(super) const fn note(self, note: &'static str) -> Self {
        Self { note, ..self }
    }

    pub(super) const fn secret(self) -> Self {
        Self { shown: Shown::Nothing, ..self }
    }

    pub(super) const fn place(self) -> Self {
        Self { shown: Shown::Place, ..self }
    }

    pub(super) const fn reloaded(self, reloaded: Reloaded) -> Self {
        Self { reloaded, ..self }
    }

    /// The setting may be given by a flag.
    #[cfg(test)]
    pub(crate) const fn is_flag(&self) -> bool {
        matches!(self.reading, Reading::Flag)
    }
}
