//! How results are printed.

/// For people, or for programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Output {
    /// Columns, for people.
    Table,
    /// One JSON value, for programs.
    Json,
}
