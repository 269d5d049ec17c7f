//! Names to addresses.

use std::collections::HashSet;
use std::fmt::Debug;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;

/// Lookups at a time, half of the threads that the runtime has for what blocks. Each takes one for
/// as long as the system's resolver takes, which the name servers of an endpoint's owner decide.
const MAX_LOOKUPS: usize = 256;

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
    lookups: Arc<Semaphore>,
}

impl Default for SystemNames {
    fn default() -> Self {
        Self { lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)) }
    }
}

#[async_trait]
impl Names for SystemNames {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let permit = Arc::clone(&self.lookups).acquire_owned().await.map_err(io::Error::other)?;
        let name = name.to_owned();
        // A task, as the thread goes on when nobody waits any more, and keeps its permit.
        let lookup = tokio::spawn(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            drop(permit);
            Ok::<Vec<_>, io::Error>(found?.collect())
        });
        let found = lookup.await.map_err(io::Error::other)??;
        let mut seen = HashSet::new();
        Ok(found.into_iter().map(|address| address.ip()).filter(|ip| seen.insert(*ip)).collect())
    }
}
