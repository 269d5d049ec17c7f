//! A receiver of the webhooks that the show causes, so that they reach somebody.
//!
//! It is registered as an endpoint of the operators' while the show goes on, and verifies what
//! comes as any receiver should.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::BY;
use super::stage::{Stage, say};
use crate::operations::Identity;
use crate::operations::endpoints::{self, EndpointChange, EndpointId, Guard, ReachArgs, Scope};
use crate::receiver::{Received, Receiver, ReceiverSettings, Verdict};
use crate::serve;
use crate::standard_webhooks::{Verifier, WebhookSecret};

/// The words by which the endpoint is found again after a `kill -9`.
const DESCRIPTION: &str = "The receiver of app dev, while it runs on a terminal";
/// The most endpoints that are looked through for one of before.
const MAX_ENDPOINTS: u16 = 1_000;
/// The place of its lines among those of the keys.
const MARK: char = '<';

/// The receiver, and its endpoint.
pub(in crate::dev) struct Inbox {
    endpoint: EndpointId,
    stop: CancellationToken,
}

impl Stage {
    /// Receives webhooks from now on.
    pub(super) async fn open_inbox(&self) -> anyhow::Result<()> {
        if self.inbox.get().is_none() {
            let opened = Inbox::open(&self.pool).await?;
            // One key is at work at a time, so nobody else has opened one meanwhile.
            let _ = self.inbox.set(opened);
        }
        Ok(())
    }
}

impl Inbox {
    async fn open(pool: &PgPool) -> anyhow::Result<Self> {
        let listener = serve::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let (by, url) = (identity(), format!("http://{}/", listener.local_addr()?));
        for old in endpoints::list(pool, Scope::All, None, MAX_ENDPOINTS).await? {
            if old.description.as_deref() == Some(DESCRIPTION) {
                endpoints::delete(pool, Scope::All, EndpointId(old.id), &by).await?;
            }
        }
        let reach = ReachArgs { webhook_allow_private: true };
        let change = EndpointChange {
            url: Some(url),
            description: Some(Some(DESCRIPTION.to_owned())),
            ..EndpointChange::default()
        };
        // Of a receiver that ends with this process, and is deleted: not worth a key.
        let safeguards = Guard::new(reach.reach()).into();
        let (endpoint, secret) = endpoints::create(pool, &safeguards, None, change, &by).await?;
        let secret: WebhookSecret = secret.reveal().parse().context("the secret is none")?;
        let settings = ReceiverSettings {
            verifier: Verifier::new(&[secret]),
            forward_to: None,
            misbehaviours: Vec::new(),
            fail_rate: 0.0,
            seed: 0,
        };
        let stop = CancellationToken::new();
        let (_, received) = Receiver::start(listener, settings, stop.clone())?;
        tokio::spawn(tell(received));
        Ok(Self { endpoint: EndpointId(endpoint.id), stop })
    }

    /// Receives nothing more.
    pub(super) async fn close(&self, pool: &PgPool) {
        // Where this fails, the next show does it.
        let _ = endpoints::delete(pool, Scope::All, self.endpoint, &identity()).await;
        self.stop.cancel();
    }
}

fn identity() -> Identity {
    Identity::command_line(BY)
}

async fn tell(mut received: mpsc::Receiver<Received>) {
    while let Some(Received { event_type, id, verdict, .. }) = received.recv().await {
        let event_type = event_type.as_deref().unwrap_or("?");
        let verdict = match verdict {
            Verdict::Verified => "its signature fits",
            Verdict::Unverified => "not verified",
            Verdict::Refused => "refused: its signature does not fit",
        };
        say(MARK, &format!("webhook {event_type} received as {id}: {verdict}"));
    }
}
