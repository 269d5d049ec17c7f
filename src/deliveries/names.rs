//! Names to addresses.

use std::collections::HashSet;
use std::fmt::Debug;
use std::io;
use std::net::IpAddr;

use async_trait::async_trait;
use tokio::sync::Semaphore;

/// Lookups at a time: each takes a thread of the runtime for as long as the system's resolver
/// takes, which a name server of an endpoint's owner decides.
const MAX_LOOKUPS: usize = 64;

/// A way from a name to its addresses.
#[async_trait]
pub trait Names: Debug + Send + Sync {
    /// All addresses of a name, each once; none or an error when it has none.
    ///
    /// # Errors
    ///
    /// When the name cannot be looked up.
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver: its hosts file, its name servers.
#[derive(Debug)]
pub struct SystemNames {
    lookups: Semaphore,
}

impl Default for SystemNames {
    fn default() -> Self {
        Self { lookups: Semaphore::new(MAX_LOOKUPS) }
    }
}

#[async_trait]
impl Names for SystemNames {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let _permit = self.lookups.acquire().await.map_err(io::Error::other)?;
        let found = tokio::net::lookup_host((name, 0)).await?;
        let mut seen = HashSet::new();
        Ok(found.map(|address| address.ip()).filter(|ip| seen.insert(*ip)).collect())
    }
}
