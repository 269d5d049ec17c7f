//! Webhooks of providers that sign and send by rules of their own.

mod mapping;
mod receiving;
mod rejections;
mod settings;
mod signatures;

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use sha2::Sha256;
use surety::payments::transactions::MAX_NAME_CHARS;
use surety::providers::{Source, Sources, SourcesError};

use crate::support::{Answer, ScratchDir, TestApi, scratch_dir, send};

pub(crate) const STRIPE_SECRET: &str = "whsec_4mJ8Zq0TtWc2yLx9";
pub(crate) const SHOP_SECRET: &str = "3b5ed1c1f0c94d2f9b1f0a7a6f1f2a9e";
/// From Adyen's own libraries.
pub(crate) const ADYEN_KEY: &str =
    "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056";

/// A file of sources, with the secrets beside it.
pub(crate) struct SourcesFile {
    folder: ScratchDir,
}

impl SourcesFile {
    pub(crate) fn new(text: &str) -> Self {
        let this = Self { folder: scratch_dir() };
        for (name, secret) in
            [("stripe", STRIPE_SECRET), ("shop", SHOP_SECRET), ("adyen", ADYEN_KEY)]
        {
            this.write(name, secret);
        }
        this.write("sources.toml", text);
        this
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).unwrap();
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join("sources.toml")
    }

    pub(crate) fn read(&self) -> Result<Sources, SourcesError> {
        Sources::read(&self.path(), &|name| std::env::var(name).ok(), MAX_NAME_CHARS)
    }

    /// An API with these sources.
    pub(crate) async fn serve(&self) -> TestApi {
        let api = TestApi::start_with(|api| api.webhook_sources = Some(self.path())).await;
        // By then it has read the file, which goes with this value.
        assert_eq!(api.get("/healthz").await.status, 200);
        api
    }
}

/// Payments of Stripe, in cents.
pub(crate) const STRIPE: &str = r#"
[sources.stripe]
scheme = "stripe"
secrets_file = "stripe"

[sources.stripe.transaction]
only = [{ at = "/type", is = ["payment_intent.succeeded"] }]
id = "/data/object/id"
source_account = { at = "/data/object/customer", prefix = "stripe:" }
destination_account = { text = "shop" }
amount = { at = "/data/object/amount_received", unit = "minor" }
currency = "/data/object/currency"
"#;

/// Orders of Shopify, in euros.
pub(crate) const SHOPIFY: &str = r#"
[sources.shop]
scheme = "shopify"
secrets_file = "shop"

[sources.shop.transaction]
only = [{ at = "/financial_status", is = ["paid"] }]
id = "/id"
source_account = { at = "/customer/id", prefix = "customer:" }
destination_account = { text = "shop" }
amount = { at = "/total_price", unit = "major" }
currency = "/currency"
"#;

/// Captures of Adyen.
pub(crate) const ADYEN: &str = r#"
[sources.adyen]
scheme = "adyen"
secrets_file = "adyen"

[sources.adyen.transaction]
only = [
  { at = "/notificationItems/0/NotificationRequestItem/eventCode", is = ["AUTHORISATION"] },
  { at = "/notificationItems/0/NotificationRequestItem/success", is = ["true"] },
]
id = "/notificationItems/0/NotificationRequestItem/pspReference"
source_account = { text = "adyen" }
destination_account = "/notificationItems/0/NotificationRequestItem/merchantAccountCode"
amount = { at = "/notificationItems/0/NotificationRequestItem/amount/value", unit = "minor" }
currency = "/notificationItems/0/NotificationRequestItem/amount/currency"
"#;

/// The only source of a file.
pub(crate) fn only_source(text: &str) -> Source {
    SourcesFile::new(text).read().unwrap().into_iter().next().unwrap()
}

pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

pub(crate) fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// Stripe's header over this body.
pub(crate) fn stripe_header(secret: &str, at: i64, body: &str) -> String {
    let signature = mac(secret.as_bytes(), format!("{at}.{body}").as_bytes());
    format!("t={at},v1={}", hex::encode(signature))
}

/// A payment of Stripe's.
pub(crate) fn stripe_event(id: &str, amount: i64, currency: &str) -> String {
    json!({
        "id": "evt_1SxkQ2LkdIwHu7ixT0Yh",
        "object": "event",
        "type": "payment_intent.succeeded",
        "data": { "object": {
            "id": id, "amount_received": amount, "currency": currency, "customer": "cus_1",
        } },
    })
    .to_string()
}

pub(crate) fn post(api: &TestApi, source: &str, body: &str) -> RequestBuilder {
    let request = api.request("POST", &format!("/v1/webhooks/sources/{source}"));
    request.header("content-type", "application/json").body(body.to_owned())
}

/// Sends what Stripe would, signed now.
pub(crate) async fn send_stripe(api: &TestApi, body: &str) -> Answer {
    let header = stripe_header(STRIPE_SECRET, now(), body);
    send(post(api, "stripe", body).header("stripe-signature", header)).await
}

/// Sends what Shopify would.
pub(crate) async fn send_shop(api: &TestApi, body: &str) -> Answer {
    let signature = STANDARD.encode(mac(SHOP_SECRET.as_bytes(), body.as_bytes()));
    send(post(api, "shop", body).header("x-shopify-hmac-sha256", signature)).await
}

/// What is stored of a transaction.
pub(crate) async fn stored(api: &TestApi, id: &str) -> Value {
    let answer = api.get(&format!("/v1/transactions/{id}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}
