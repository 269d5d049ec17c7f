//! `app listen`: receives webhooks, verifies them and prints them.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::output::{Output, moment};
use crate::arguments::{parse_listen_address, read_value};
use crate::receiver::{Misbehaviour, Received, Receiver, ReceiverSettings, Verdict};
use crate::serve;
use crate::standard_webhooks::{PublicKey, Verifier, WebhookSecret};

const EXPLANATION: &str = "\
Deliveries are verified by Standard Webhooks. One that is believed is answered 200, or as the
receiver behind --forward-to answers it; one that is not, 401.

Misbehaviour, as a test for any sender; several are taken by chance:
  status=N               that status
  redirect=URL           307 to there, which a sender must not follow
  bad-retry-after[=X]    503, with a Retry-After such as 1e300, -1 or the year 9999
  hang                   no answer
  reset                  the connection is reset
  cut                    half of the body that was announced
  slow-head, slow-drip   a byte a second, of the head or of the body
  huge                   a body without an end
  gzip-bomb              a MiB that unpacks to a GiB
  interim-flood          interim answers (103) without an end
  latin-1                a header that is not UTF-8

Examples:
  APP_LISTEN_SECRET=whsec_… app listen
  app listen --secret-file secret --forward-to http://127.0.0.1:3000/webhooks
  app listen --fail-rate 0.5                                 500 for every other one
  app listen --misbehave reset --misbehave hang --fail-rate 0.1
  app listen -o jsonl | jq -r .body";

/// Receives webhooks, verifies and prints them; or treats their sender badly, on purpose.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXPLANATION)]
pub struct Args {
    /// The address and port to listen on.
    #[arg(long, default_value = "127.0.0.1:9000", value_name = "ADDRESS:PORT",
          value_parser = parse_listen_address)]
    listen: SocketAddr,

    /// The secret of the endpoint (whsec_…); several, separated by commas or spaces, during a
    /// rotation. Without any, all is believed.
    ///
    /// Better by environment or file: other users of the machine can see a command's arguments.
    #[arg(long, env = "APP_LISTEN_SECRET", hide_env_values = true, conflicts_with = "secret_file")]
    secret: Option<Secrets>,

    /// A file that holds the secret.
    #[arg(long, env = "APP_LISTEN_SECRET_FILE", value_name = "FILE")]
    secret_file: Option<PathBuf>,

    /// A public key of the sender's (whpk_…), for signatures v1a.
    #[arg(long, value_name = "KEY")]
    public_key: Vec<PublicKey>,

    /// Passes on what is believed, and answers as is answered there.
    #[arg(long, value_name = "URL")]
    forward_to: Option<String>,

    /// Treats the sender badly in this way; may be repeated.
    #[arg(long, value_name = "WAY")]
    misbehave: Vec<Misbehaviour>,

    /// The share of deliveries that are treated badly, from 0 to 1 [default: 1 with --misbehave]
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    fail_rate: Option<f64>,

    /// Seed of chance. [default: random]
    #[arg(long)]
    seed: Option<u64>,

    /// The output format: a line for people, or one of JSON, of each delivery.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Secrets as text. `Debug` does not show them.
#[derive(Clone)]
struct Secrets(String);

impl From<String> for Secrets {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(..)")
    }
}

/// Receives until `shutdown` is cancelled.
///
/// # Errors
///
/// When the address is taken, or a secret, a key or the URL to forward to is none.
pub async fn run_command(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let settings = settings(&args)?;
    let is_open = settings.verifier.is_open();
    let listener = serve::bind(args.listen).await?;
    let (receiver, mut received) = Receiver::start(listener, settings, shutdown)?;
    let checked = match is_open {
        true => "no secret is given, so all of them are believed",
        false => "signatures are verified",
    };
    eprintln!("receiving webhooks at http://{}/; {checked}; Ctrl-C ends it", receiver.address);
    let mut count = 0_u64;
    while let Some(delivery) = received.recv().await {
        count += 1;
        match args.output {
            Output::Table => println!("{}", line(&delivery)),
            Output::Json | Output::Jsonl => println!("{}", json!(delivery)),
        }
    }
    receiver.stopped().await;
    eprintln!("{count} received");
    Ok(())
}

fn settings(args: &Args) -> anyhow::Result<ReceiverSettings> {
    let text = match (&args.secret, &args.secret_file) {
        (Some(Secrets(text)), _) => Some(text.clone()),
        (None, Some(file)) => Some(
            read_value(file)
                .context("the file that APP_LISTEN_SECRET_FILE names cannot be read")?,
        ),
        (None, None) => None,
    };
    let secrets = text.as_deref().map(read_secrets).transpose()?.unwrap_or_default();
    let forward_to = args.forward_to.as_deref().map(str::parse).transpose();
    let fail_rate = match args.misbehave.as_slice() {
        [] => args.fail_rate.unwrap_or(0.0),
        _ => args.fail_rate.unwrap_or(1.0),
    };
    Ok(ReceiverSettings {
        verifier: Verifier::new(&secrets).with_public_keys(args.public_key.clone()),
        forward_to: forward_to.context("--forward-to cannot be used")?,
        misbehaviours: args.misbehave.clone(),
        fail_rate,
        seed: args.seed.unwrap_or_else(|| u64::from(fastrand::u32(..))),
    })
}

/// At least one: a variable that was not filled in must not turn verification off.
fn read_secrets(text: &str) -> anyhow::Result<Vec<WebhookSecret>> {
    let secrets = WebhookSecret::parse_all(text)?;
    anyhow::ensure!(
        !secrets.is_empty(),
        "APP_LISTEN_SECRET, or the file that APP_LISTEN_SECRET_FILE names, holds no secret"
    );
    Ok(secrets)
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share is a number from 0 to 1".to_owned()),
    }
}

/// One line for people.
fn line(delivery: &Received) -> String {
    let verdict = match (delivery.verdict, &delivery.doubt) {
        (Verdict::Verified, _) => "verified".to_owned(),
        (Verdict::Unverified, _) => "unverified".to_owned(),
        (Verdict::Refused, doubt) => {
            format!("REFUSED: {}", doubt.as_deref().unwrap_or("not believed"))
        }
    };
    let again = match delivery.attempt {
        1 => String::new(),
        attempt => format!(" (attempt {attempt})"),
    };
    let word = |text: &str| super::output::in_one_line(text).into_owned();
    format!(
        "{}  {}  {}{again}  {} bytes  {verdict}  → {}",
        moment(Some(delivery.received_at)),
        word(delivery.event_type.as_deref().unwrap_or("-")),
        word(if delivery.id.is_empty() { "-" } else { &delivery.id }),
        delivery.body_bytes,
        word(&delivery.answer),
    )
}
