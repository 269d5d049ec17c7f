//! Flags that say who acts at the terminal, and why.

use clap::builder::NonEmptyStringValueParser;

use crate::operations::{Actor, Identity, Reason};

/// The reason for a change and the name of whoever makes it, which are kept with it.
#[derive(clap::Args, Debug)]
pub(super) struct ActorArgs {
    /// The reason, which is kept for later.
    #[arg(long)]
    reason: Reason,

    #[command(flatten)]
    name: NameArg,
}

/// The name of whoever makes a change.
#[derive(clap::Args, Debug, Default)]
pub(super) struct NameArg {
    /// The name that is kept with it. [default: the user of the system]
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    by: Option<String>,
}

impl ActorArgs {
    pub(super) fn into_actor(self) -> Actor {
        Actor { identity: self.name.identity(), reason: self.reason }
    }
}

impl NameArg {
    /// The name that was given, or that of the user of the system.
    pub(super) fn identity(&self) -> Identity {
        let name = self.by.clone().or_else(|| std::env::var("USER").ok());
        Identity::command_line(name.filter(|name| !name.is_empty()).as_deref().unwrap_or("unknown"))
    }
}
