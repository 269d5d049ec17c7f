//! `app config check` and `app config env`.

use serde_json::Value;

use crate::support::{App, Binary as _, scratch_dir};

/// In every value that must not be shown.
const MARKER: &str = "Hunter2Marker";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";

async fn check(variables: &[(&str, &str)], args: &[&str]) -> (Option<i32>, String) {
    let mut app = App::command(["config", "check"]).args(args);
    for (name, value) in variables {
        app = app.env(name, value);
    }
    let (status, said) = app.run().await;
    (status.code(), said)
}

async fn report(variables: &[(&str, &str)], args: &[&str]) -> Value {
    let (_, said) = check(variables, &[&["-o", "json"], args].concat()).await;
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Value and source of a setting.
fn setting<'a>(report: &'a Value, name: &str) -> (Option<&'a str>, &'a str) {
    let settings = report["settings"].as_array().unwrap();
    let row = settings.iter().find(|row| row["name"] == name).unwrap();
    (row["value"].as_str(), row["source"].as_str().unwrap())
}

#[tokio::test]
async fn the_example_of_an_environment_file_is_what_the_program_prints() {
    let (status, said) = App::command(["config", "env"]).run().await;
    assert!(status.success(), "{said}");
    let example = include_str!("../../../.env.example");
    let differs = said.lines().zip(example.lines()).find(|(said, example)| said != example);
    assert_eq!(differs, None, "run: app config env > .env.example");
    assert_eq!(said.trim_end(), example.trim_end(), "run: app config env > .env.example");
}

#[tokio::test]
async fn what_holds_where_nothing_is_set_can_be_used() {
    let (code, said) = check(&[], &[]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("all settings can be used"), "{said}");
}

#[tokio::test]
async fn every_wrong_value_is_told_in_a_sentence_and_none_is_shown() {
    let url = format!("mysql://app:{MARKER}@db/app");
    let wrong = [
        ("DATABASE_URL", url.as_str()),
        ("APP_WEBHOOK_SECRETS", MARKER),
        ("APP_JOB_KEYS", MARKER),
        ("APP_SMTP_URL", MARKER),
        ("APP_BANK_URL", MARKER),
        ("APP_RELAY_TO", MARKER),
        ("APP_LISTEN", MARKER),
        ("APP_LIMIT_API", MARKER),
        ("APP_MAX_CONNECTIONS", "0"),
        ("APP_CONFLICT_ANSWER", MARKER),
        ("APP_WORKER_HEARTBEAT", MARKER),
        ("APP_LOG", "surety=Hunter2Marker"),
        ("OTEL_TRACES_EXPORTER", MARKER),
        ("OTEL_BSP_MAX_QUEUE_SIZE", MARKER),
    ];
    let (code, said) = check(&wrong, &[]).await;
    assert_eq!(code, Some(78), "{said}");
    assert!(!said.contains(MARKER), "{said}");
    let told: Vec<&str> = said.lines().filter(|line| line.starts_with("wrong: ")).collect();
    for (name, _) in wrong {
        assert!(told.iter().any(|line| line.contains(name)), "{name}: {said}");
    }
    assert_eq!(told.len(), wrong.len(), "{told:#?}");
}

#[tokio::test]
async fn settings_that_are_wrong_together_are_told() {
    for (variables, words) in [
        (&[("APP_LISTEN", "0.0.0.0:8000")][..], "without a webhook secret"),
        (&[("APP_WORKER_LEASE", "10s")], "a third of the lease"),
        (&[("APP_SMTP_URL", "smtps://mail.example")], "APP_MAIL_FROM"),
        (&[("APP_WEBHOOK_SECRETS", SECRET), ("APP_WEBHOOK_SECRETS_FILE", "/x")], "both set"),
        (&[("DATABASE_URL_FILE", "/nowhere")], "DATABASE_URL_FILE"),
        (&[("APP_CONTEXT", "prod"), ("APP_CONTEXTS", "/nowhere")], "file of contexts"),
    ] {
        let (code, said) = check(variables, &[]).await;
        assert_eq!(code, Some(78), "{variables:?}: {said}");
        assert!(said.contains(words), "{variables:?}: {said}");
    }
}

#[tokio::test]
async fn a_mistyped_name_is_told_with_the_nearest_known_one() {
    for (name, nearest) in [
        ("APP_LISTN", "APP_LISTEN"),
        ("OTEL_EXPORTER_OTLP_ENDPIONT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ] {
        let (code, said) = check(&[(name, MARKER)], &[]).await;
        assert_eq!(code, Some(1), "{said}");
        let told = format!("unknown: {name} is no setting: did you mean {nearest}?");
        assert!(said.contains(&told) && !said.contains(MARKER), "{said}");
    }
    // OpenTelemetry has more than is read here.
    let (code, said) = check(&[("OTEL_PROPAGATORS", "b3")], &[]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("OTEL_PROPAGATORS is not read"), "{said}");
}

#[tokio::test]
async fn each_value_is_shown_with_its_source_and_secrets_are_not() {
    let dir = scratch_dir();
    let file = dir.join("database-url");
    std::fs::write(&file, format!("postgres://app:{MARKER}@db.example/surety\n")).unwrap();
    let dotenv = dir.join("settings.env");
    let text = format!("APP_MAX_BODY=2048\nAPP_LIMIT_API=5/min\nAPP_WEBHOOK_SECRETS={SECRET}\n");
    std::fs::write(&dotenv, text).unwrap();
    let variables = [
        ("APP_ENV_FILE", dotenv.to_str().unwrap()),
        ("DATABASE_URL_FILE", file.to_str().unwrap()),
        ("APP_LIMIT_API", "7/min"),
        ("APP_BANK_URL", "https://bank.example/api"),
    ];
    let flags = ["--", "serve", "--listen", "127.0.0.1:9000"];
    let report = report(&variables, &flags).await;
    let source = |path: &std::path::Path| format!("file {}", path.display());
    assert_eq!(setting(&report, "APP_LISTEN"), (Some("127.0.0.1:9000"), "flag --listen"));
    assert_eq!(setting(&report, "APP_LIMIT_API"), (Some("7/min"), "environment"));
    assert_eq!(setting(&report, "APP_MAX_BODY"), (Some("2048"), source(&dotenv).as_str()));
    assert_eq!(setting(&report, "APP_COMMITTERS"), (Some("2"), "default"));
    assert_eq!(setting(&report, "APP_JOB_KEYS"), (None, "default"));
    assert_eq!(setting(&report, "APP_BANK_URL").0, Some("https://bank.example"));
    let database = (Some("postgres://db.example/surety"), source(&file));
    assert_eq!(setting(&report, "DATABASE_URL"), (database.0, database.1.as_str()));
    assert_eq!(setting(&report, "APP_WEBHOOK_SECRETS").0, Some("(hidden)"));
    let text = report.to_string();
    assert!(!text.contains(MARKER) && !text.contains(SECRET), "{text}");
}

#[tokio::test]
async fn every_bad_line_of_an_environment_file_is_told() {
    let dir = scratch_dir();
    std::fs::write(dir.join(".env"), format!("APP_A={MARKER} x\nAPP_MAX_BODY=1\n{MARKER}\n"))
        .unwrap();
    let (status, said) = App::command(["config", "check"]).dir(&dir).run().await;
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(said.contains("line 1 of .env") && said.contains("line 3 of .env"), "{said}");
    assert!(!said.contains(MARKER), "{said}");
}
