//! Settings of what sends webhooks and of what takes new endpoints.

use clap::Args as ClapArgs;

use super::target::Reach;

/// The addresses that webhooks may be sent to.
#[derive(ClapArgs, Clone, Copy, Debug, Default)]
pub struct ReachArgs {
    /// Also send webhooks to private addresses, those of this machine among them. Whoever may make
    /// an endpoint can then reach what only this machine can.
    #[arg(long, env = "APP_WEBHOOK_ALLOW_PRIVATE", value_name = "BOOL", num_args = 0..=1,
          default_value_t = false, default_missing_value = "true", require_equals = true)]
    pub webhook_allow_private: bool,
}

impl ReachArgs {
    /// The reach of webhooks.
    #[must_use]
    pub fn reach(self) -> Reach {
        if self.webhook_allow_private { Reach::PrivateToo } else { Reach::PublicOnly }
    }
}
