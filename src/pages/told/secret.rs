//! A new secret of an endpoint, shown once.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;

use super::{endpoint_of, refused};
use crate::operations::endpoints::{self, EndpointId, Scope};
use crate::pages::frame::Frame;
use crate::pages::refusals::Refusal;
use crate::pages::visit::{Answer, Visit};

/// The time for which the secret before signs beside the new one.
const OVERLAP: Duration = Duration::from_secs(24 * 3600);

#[derive(Template)]
#[template(path = "secret.html", config = "src/pages/askama.toml")]
struct SecretPage {
    frame: Frame,
    id: EndpointId,
    secret: String,
}

/// Makes a new secret, and answers with the one page that shows it.
pub(in crate::pages) async fn rotate(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let id = endpoint_of(&visit)?;
    let (site, by) = (&visit.site, visit.identity());
    let (pool, sealing) = (&site.pool, &site.secrets);
    let secret = endpoints::rotate_secret(pool, sealing, Scope::All, id, OVERLAP, &by).await;
    let secret = secret.map_err(refused)?;
    let frame = visit.frame("New secret");
    Answer::page(&SecretPage { frame, id, secret: secret.reveal().to_owned() })
}
