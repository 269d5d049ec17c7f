//! The command line as a person meets it.

use crate::support::{App, Binary as _, TestDb};

/// Every subcommand, with what it takes to get past its required arguments.
pub(crate) const COMMANDS: [&[&str]; 89] = [
    &["config"],
    &["config", "check"],
    &["config", "contexts"],
    &["config", "env"],
    &["archives"],
    &["archives", "create"],
    &["archives", "list"],
    &["archives", "verify"],
    &["dev"],
    &["serve"],
    &["work"],
    &["bank"],
    &["listen"],
    &["relay"],
    &["trigger"],
    &["migrate"],
    &["migrate", "run"],
    &["migrate", "revert"],
    &["migrate", "status"],
    &["users"],
    &["users", "create"],
    &["users", "list"],
    &["users", "set-role"],
    &["users", "set-status"],
    &["users", "set-password"],
    &["users", "set-mail"],
    &["keys"],
    &["keys", "create"],
    &["keys", "list"],
    &["keys", "revoke"],
    &["keys", "rotate"],
    &["keys", "rotate-signing"],
    &["openapi"],
    &["seed"],
    &["send"],
    &["doctor"],
    &["verify"],
    &["reconcile"],
    &["dead-letters"],
    &["dead-letters", "list"],
    &["dead-letters", "show"],
    &["dead-letters", "redrive"],
    &["dead-letters", "write-off"],
    &["endpoints"],
    &["endpoints", "create"],
    &["endpoints", "list"],
    &["endpoints", "show"],
    &["endpoints", "update"],
    &["endpoints", "disable"],
    &["endpoints", "enable"],
    &["endpoints", "delete"],
    &["endpoints", "rotate-secret"],
    &["endpoints", "test"],
    &["endpoints", "deliveries"],
    &["endpoints", "deliveries", "list"],
    &["endpoints", "deliveries", "show"],
    &["endpoints", "deliveries", "retry"],
    &["endpoints", "deliveries", "replay"],
    &["endpoints", "deliveries", "replay-status"],
    &["endpoints", "deliveries", "cancel-replay"],
    &["jobs"],
    &["jobs", "list"],
    &["jobs", "show"],
    &["jobs", "enqueue"],
    &["jobs", "retry"],
    &["jobs", "cancel"],
    &["jobs", "discard"],
    &["jobs", "edit"],
    &["jobs", "wait"],
    &["rotate-job-keys"],
    &["queues"],
    &["queues", "list"],
    &["queues", "show"],
    &["queues", "pause"],
    &["queues", "resume"],
    &["queues", "drain"],
    &["queues", "limits"],
    &["queues", "blocked"],
    &["queues", "unblock"],
    &["webhooks"],
    &["webhooks", "check"],
    &["webhooks", "rejected"],
    &["workers"],
    &["top"],
    &["workers", "list"],
    &["workers", "drain"],
    &["probe"],
    &["completions"],
    &["man"],
];

async fn run(args: &[&str]) -> (Option<i32>, String) {
    let (status, output) = App::command(args).run().await;
    (status.code(), output)
}

#[tokio::test]
async fn every_command_explains_itself() {
    for command in COMMANDS {
        let (code, help) = run(&[command, &["--help"]].concat()).await;
        assert_eq!(code, Some(0), "{command:?}: {help}");
        assert_eq!(undocumented_flags(&help), [""; 0], "{command:?}: {help}");
    }
}

/// Flags whose line in the help says nothing, on it or below it.
fn undocumented_flags(help: &str) -> Vec<String> {
    let lines: Vec<&str> = help.lines().collect();
    let mut undocumented = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        if !line.trim_start().starts_with('-') || !line.starts_with("  ") {
            continue;
        }
        let on_it = line.trim().split_once("  ").is_some();
        let below = lines.get(number + 1).is_some_and(|next| next.starts_with("          "));
        if !on_it && !below {
            undocumented.push((*line).to_owned());
        }
    }
    undocumented
}

#[tokio::test]
async fn the_main_commands_show_examples() {
    for command in
        [&[][..], &["work"], &["bank"], &["listen"], &["migrate"], &["send"], &["doctor"]]
    {
        let (_, help) = run(&[command, &["--help"]].concat()).await;
        assert!(help.contains("Examples:") && help.contains("  app "), "{command:?}: {help}");
    }
}

#[tokio::test]
async fn no_arguments_give_help_and_not_an_action() {
    let (code, output) = run(&[]).await;
    assert_eq!(code, Some(2), "{output}");
    assert!(output.contains("Usage:") && output.contains("Examples:"), "{output}");
}

#[tokio::test]
async fn a_typo_gets_a_suggestion() {
    for (typo, meant) in [
        (&["sned"][..], "send"),
        (&["send", "--cuont", "1"], "--count"),
        (&["migrate", "rum"], "run"),
    ] {
        let (code, output) = run(typo).await;
        assert_eq!(code, Some(2), "{typo:?}: {output}");
        assert!(output.contains(&format!("'{meant}'")), "{typo:?}: {output}");
    }
}

#[tokio::test]
async fn a_wrong_value_is_refused_with_what_would_be_right() {
    for (wrong, right) in [
        (&["send", "--duplicates", "lots"][..], "a share such as 5%"),
        (&["send", "--rate", "0"], "above 0"),
        (&["send", "--count", "0"], "1.."),
        (&["send", "--concurrency", "0"], "1..=4096"),
        (&["migrate", "run", "--wait", "soon"], "--wait <DURATION>"),
    ] {
        let (code, output) = run(wrong).await;
        assert_eq!(code, Some(2), "{wrong:?}: {output}");
        assert!(output.contains(right), "{wrong:?}: {output}");
    }
}

#[tokio::test]
async fn errors_name_cause_and_fix_and_end_with_their_code() {
    let unreachable = "postgres://nobody@127.0.0.1:1/none";
    let not_there = "/nowhere/transactions.jsonl";
    let cases: [(&[&str], &str, i32, &[&str]); 6] = [
        (&["migrate", "status"], unreachable, 7, &["127.0.0.1:1/none", "cause:", "fix:"]),
        (&["migrate", "status"], "mysql://x/y", 78, &["postgres://", "fix:"]),
        (&["work"], unreachable, 7, &["127.0.0.1:1/none", "cause:", "fix:"]),
        (
            &["send", "--url", "http://127.0.0.1:1"],
            "",
            1,
            &["http://127.0.0.1:1", "cause:", "fix:"],
        ),
        (&["send", "--url", "127.0.0.1:1"], "", 1, &["the URL to send to", "http"]),
        (&["send", "--file", not_there], "", 1, &[not_there, "cause: No such file"]),
    ];
    for (args, url, expected, words) in cases {
        let (status, output) = App::command(args).env("DATABASE_URL", url).run().await;
        assert_eq!(status.code(), Some(expected), "{args:?}: {output}");
        for word in words {
            assert!(output.contains(word), "{args:?}: no {word:?} in: {output}");
        }
        assert!(!output.contains("panicked"), "{output}");
    }
}

#[tokio::test]
async fn an_outdated_schema_is_refused_with_the_command_that_mends_it() {
    let db = TestDb::without_schema().await;
    for command in ["serve", "work"] {
        let (status, output) = App::command([command]).env("DATABASE_URL", &db.url).run().await;
        assert_eq!(status.code(), Some(8), "{command}: {output}");
        assert!(output.contains("app migrate run"), "{command}: {output}");
    }
}

/// The standard variables that are read, as `telemetry::otlp` says; those of the exporter for all
/// signals alone.
const OTEL: [&str; 24] = [
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BLRP_MAX_QUEUE_SIZE",
    "OTEL_BLRP_SCHEDULE_DELAY",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_LOGS_EXPORTER",
    "OTEL_METRICS_EXPORTER",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SDK_DISABLED",
    "OTEL_SERVICE_NAME",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
    "OTEL_TRACES_EXPORTER",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
];

#[tokio::test]
async fn the_example_of_an_environment_file_has_every_setting() {
    let mut settings = std::collections::BTreeSet::new();
    for command in COMMANDS {
        let (_, help) = run(&[command, &["--help"]].concat()).await;
        let named = help.split("[env: ").skip(1);
        settings.extend(named.map(|rest| rest.split(['=', ']']).next().unwrap().to_owned()));
    }
    let example = include_str!("../../.env.example");
    let lines = example.lines().filter_map(|line| line.strip_prefix('#')?.split_once('='));
    let shown: std::collections::BTreeSet<_> =
        lines.map(|(name, _)| name.to_owned()).filter(|name| !name.contains(' ')).collect();
    let missing: Vec<_> = settings.difference(&shown).collect();
    assert!(missing.is_empty(), "not in .env.example: {missing:?}");
    // What is not a flag, but read by name.
    let others = [
        "APP_CONTEXTS",
        "APP_DATABASE_DIRECT_URL_FILE",
        "APP_DATABASE_READ_URL_FILE",
        "APP_ENV_FILE",
        "APP_LOG",
        "APP_PG_BIN",
        "APP_RELAY_TO_FILE",
        "APP_SMTP_URL_FILE",
        "DATABASE_URL_FILE",
    ];
    let others = others.into_iter().chain(OTEL);
    let missing: Vec<_> = OTEL.into_iter().filter(|name| !shown.contains(*name)).collect();
    assert!(missing.is_empty(), "not in .env.example: {missing:?}");
    let others: std::collections::BTreeSet<_> = others.collect();
    let unknown: Vec<_> =
        shown.difference(&settings).filter(|name| !others.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "in .env.example, but no setting: {unknown:?}");
}

#[tokio::test]
async fn the_database_url_can_come_from_a_file() {
    let db = TestDb::new().await;
    let dir = crate::support::scratch_dir();
    let file = dir.join("url");
    std::fs::write(&file, format!("{}\n", db.url)).unwrap();
    let verify = || App::command(["verify"]);

    let (status, output) = verify().env("DATABASE_URL_FILE", &file).run().await;
    assert!(status.success(), "{output}");

    let (status, output) = verify().env("DATABASE_URL_FILE", dir.join("absent")).run().await;
    assert!(!status.success() && output.contains("cannot be read"), "{output}");
}
