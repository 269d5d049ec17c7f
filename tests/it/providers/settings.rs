//! The file of sources: refused at start with a sentence that names file, source and key, and no
//! value.

use super::{ADYEN, SHOPIFY, STRIPE, SourcesFile};
use crate::support::{App, Binary as _, TestDb};

fn refusal(text: &str) -> String {
    let file = SourcesFile::new(text);
    let error = file.read().expect_err(text).to_string();
    assert!(error.contains(&file.path().display().to_string()), "{error}");
    error
}

#[test]
fn the_examples_are_taken() {
    let sources = SourcesFile::new(&[STRIPE, SHOPIFY, ADYEN].concat()).read().unwrap();
    let names: Vec<String> = sources.iter().map(|source| source.name.clone()).collect();
    assert_eq!(names, ["adyen", "shop", "stripe"]);
}

#[test]
fn what_is_wrong_is_named_by_its_source_and_key() {
    let change = |from: &str, to: &str| refusal(&STRIPE.replace(from, to));
    for (error, place) in [
        (
            change("\"stripe\"\nsecrets", "\"strip\"\nsecrets"),
            "sources.stripe.scheme: expected one of stripe",
        ),
        (change("secrets_file = \"stripe\"", ""), "sources.stripe.secrets_env: is missing"),
        (
            change("\"stripe\"\n\n", "\"nowhere\"\n\n"),
            "sources.stripe.secrets_file: a file that it names cannot be read",
        ),
        (
            change("secrets_file = \"stripe\"", "secrets_env = \"NO_SUCH_VARIABLE_HERE\""),
            "sources.stripe.secrets_env: a variable that it names is not set",
        ),
        (
            change("scheme =", "tolerance = \"2d\"\nscheme ="),
            "sources.stripe.tolerance: expected from 1s to 24h",
        ),
        (
            change("scheme =", "tolerance = 5\nscheme ="),
            "sources.stripe.tolerance: expected a text",
        ),
        (
            change("scheme =", "silent_after = \"0s\"\nscheme ="),
            "sources.stripe.silent_after: expected at least a second",
        ),
        (
            change("scheme =", "header = \"x\"\nscheme ="),
            "sources.stripe.header: is not known, or not for this scheme",
        ),
        (
            change("scheme =", "on_conflict = \"x\"\nscheme ="),
            "sources.stripe.on_conflict: expected one of refuse, accept",
        ),
        (
            change("\"/data/object/id\"", "\"data.object.id\""),
            "sources.stripe.transaction.id: expected a JSON pointer",
        ),
        (
            change("\"/data/object/id\"", "{ text = \"x\" }"),
            "sources.stripe.transaction.id: expected a place",
        ),
        (
            change("unit = \"minor\"", "unit = \"cents\""),
            "sources.stripe.transaction.amount.unit: expected one of minor, major",
        ),
        (
            change("unit = \"minor\"", "unit = \"minor\", decimals = { XXX = 2 }"),
            "sources.stripe.transaction.amount.decimals.XXX: is no currency",
        ),
        (
            change("currency = \"/data", "curency = \"/data"),
            "sources.stripe.transaction.currency: is missing",
        ),
        (
            change("is = [\"payment_intent.succeeded\"]", "is = []"),
            "sources.stripe.transaction.only.is: expected",
        ),
        (change("[sources.stripe]", "[sources.Stripe]"), "sources.Stripe: the name of a source"),
        (
            STRIPE
                .replace("stripe]", "transactions]")
                .replace("stripe.", "transactions.")
                .as_str()
                .pipe(refusal),
            "sources.transactions: the name",
        ),
        (refusal(""), "sources: is missing"),
        (refusal("[sources]"), "there is no source"),
        (refusal("x = 1\n[sources]"), "x: is not known"),
    ] {
        assert!(error.contains(place), "{error} does not say {place}");
    }
}

trait Pipe {
    fn pipe<T>(self, then: impl FnOnce(Self) -> T) -> T
    where
        Self: Sized,
    {
        then(self)
    }
}

impl Pipe for &str {}

#[test]
fn a_secret_in_the_file_is_refused_and_not_repeated() {
    for line in [
        "secret = \"Hunter2Marker\"",
        "secrets = [\"Hunter2Marker\"]",
        "limit = [\"Hunter2Marker\"]",
        "secrets_env = \"Hunter2Marker\"",
        "Hunter2Marker",
        "tolerance = \"Hunter2Marker\"",
    ] {
        let text = STRIPE.replace("secrets_file = \"stripe\"", line);
        let error = refusal(&text);
        assert!(!error.contains("Hunter2Marker"), "{error}");
    }
    let inline = refusal(&STRIPE.replace("secrets_file = \"stripe\"", "secret = \"whsec_x\""));
    assert!(
        inline.contains("sources.stripe.secret: secrets do not stand in this file"),
        "{inline}"
    );
    assert!(refusal("a = 1\nb = ").contains("it is not TOML at line 2"));
}

#[test]
fn secrets_that_are_empty_short_or_of_another_form_are_refused() {
    for (text, secret, says) in
        [(STRIPE, "\n\n", "holds no secret"), (STRIPE, "short", "fewer than 16 bytes")]
    {
        let file = SourcesFile::new(text);
        file.write("stripe", secret);
        let error = file.read().unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let file = SourcesFile::new(ADYEN);
    file.write("adyen", "this is no hexadecimal text");
    let error = file.read().unwrap_err().to_string();
    assert!(error.contains("sources.adyen: a secret is not of the form"), "{error}");
    assert!(!error.contains("hexadecimal text"), "{error}");
}

/// Headers are under no signature, and of Adyen's events eight fields are.
#[test]
fn nothing_is_read_out_of_what_adyen_does_not_sign() {
    for place in [
        "/notificationItems/0/NotificationRequestItem/paymentMethod",
        "/notificationItems/0/NotificationRequestItem/additionalData/x",
        "/live",
        "/notificationItems/1/NotificationRequestItem/pspReference",
    ] {
        let text = ADYEN.replace("{ text = \"adyen\" }", &format!("\"{place}\""));
        let error = refusal(&text);
        let says = "sources.adyen.transaction.source_account: Adyen does not sign";
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_time_that_is_not_signed_is_refused_and_so_is_a_tolerance_without_a_time() {
    let hmac = |keys: &str| {
        let scheme =
            format!("scheme = \"hmac\"\nheader = \"x-signature\"\nencoding = \"hex\"\n{keys}");
        refusal(&STRIPE.replace("scheme = \"stripe\"", &scheme))
    };
    assert!(
        hmac("timestamp_header = \"x-time\"")
            .contains("sources.stripe.signed: must have {timestamp}")
    );
    assert!(hmac("signed = \"{timestamp}.{body}\"").contains("sources.stripe.signed: must have"));
    assert!(hmac("signed = \"x\"").contains("sources.stripe.signed: must have {body} once"));
    assert!(
        hmac("tolerance = \"5m\"").contains("sources.stripe.tolerance: this scheme signs no time")
    );
    assert!(
        hmac("hash = \"sha1\"").contains("sources.stripe.hash: expected one of sha256, sha512")
    );
}

#[tokio::test]
async fn a_server_with_a_wrong_file_does_not_start_and_says_why() {
    let db = TestDb::new().await;
    let file = SourcesFile::new(&STRIPE.replace("scheme =", "limit = \"often\"\nscheme ="));
    let app = App::command(["serve", "--listen", "127.0.0.1:0"])
        .env("DATABASE_URL", &db.url)
        .env("APP_WEBHOOK_SOURCES", file.path());
    let (status, output) = app.run().await;
    assert_eq!(status.code(), Some(78), "{output}");
    assert!(
        output.contains("sources.toml: sources.stripe.limit: expected requests per time"),
        "{output}"
    );
}
